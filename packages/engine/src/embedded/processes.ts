import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { errorCode } from './errors.ts';

/** Whether a process with this id runs. One that ended and that nobody has waited for yet counts as ended. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return false;
  }
  return !isZombie(pid);
}

/** Whether this process id is a PostgreSQL program, and not something else that got the id of one that ended. */
export function isPostgres(pid: number): boolean {
  if (!isAlive(pid)) return false;
  // why: there is no cheap answer on Windows; PostgreSQL's own lock decides there
  if (process.platform === 'win32') return true;
  return basename(programOf(pid)).startsWith('postgres');
}

function programOf(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '';
    return execFileSync('ps', ['-p', String(pid), '-o', 'comm='], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

function isZombie(pid: number): boolean {
  if (process.platform !== 'linux') return false;
  try {
    const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return 'ZX'.includes(status.charAt(status.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
