import { describe, expect, test } from 'vitest';
import { parseJobId, presentJobId } from '../../src/domain/ids.ts';
import {
  isTerminal,
  type Job,
  type JobStatus,
  jobStatuses,
  type Outcome,
  outcomeOf,
  processedOf,
  progressOf,
} from '../../src/domain/job.ts';

const uuid = '01890a5d-ac96-774b-bcce-b302099a8057';

test('a job id is its UUID in another form, and back', () => {
  expect(presentJobId(uuid)).toBe('job_01890a5dac96774bbcceb302099a8057');
  expect(parseJobId(presentJobId(uuid))).toBe(uuid);
});

test.each([
  '',
  'job_',
  uuid,
  'job_01890A5DAC96774BBCCEB302099A8057',
  'job_01890a5dac96774bbcceb302099a805',
  'job_01890a5dac96774bbcceb302099a8057\n',
  'xjob_01890a5dac96774bbcceb302099a8057',
])('%j is no job id', (text) => {
  expect(parseJobId(text)).toBeUndefined();
});

test('the terminal states', () => {
  expect(jobStatuses.filter(isTerminal)).toEqual(['completed', 'cancelled', 'failed']);
});

describe('outcome', () => {
  test.each<[JobStatus, number, number, Outcome | null]>([
    ['running', 2, 2, null],
    ['completed', 2, 2, 'all_succeeded'],
    ['completed', 2, 1, 'some_failed'],
    ['completed', 2, 0, 'all_failed'],
    ['completed', 0, 0, 'all_succeeded'],
    ['cancelled', 2, 1, 'some_failed'],
    ['failed', 2, 0, 'all_failed'],
  ])('%s with %i items, %i succeeded: %s', (status, total, succeeded, outcome) => {
    expect(outcomeOf(status, { total, succeeded, failed: 0, notProcessed: 0 })).toBe(outcome);
  });
});

describe('progress', () => {
  const job = (status: JobStatus, startedAt: string | null, completedAt: string | null = null) =>
    ({ status, startedAt, completedAt, summary: { total: 100, succeeded: 20, failed: 4, notProcessed: 1 } }) as Job;
  const now = new Date('2026-01-01T00:00:10Z');

  test('counts what was decided', () => {
    expect(processedOf(job('running', null).summary)).toBe(25);
  });
  test('has no rate before the job has started', () => {
    expect(progressOf(job('pending', null), now)).toEqual({
      processed: 25,
      total: 100,
      itemsPerSecond: null,
      etaSeconds: null,
    });
  });
  test('rates by the running time and rounds the estimate up', () => {
    expect(progressOf(job('running', '2026-01-01T00:00:00Z'), now)).toMatchObject({
      itemsPerSecond: 3,
      etaSeconds: 30,
    });
  });
  test('has no estimate while nothing was decided', () => {
    const idle = {
      ...job('running', '2026-01-01T00:00:00Z'),
      summary: { total: 5, succeeded: 0, failed: 0, notProcessed: 0 },
    };
    expect(progressOf(idle, now)).toMatchObject({ itemsPerSecond: 0, etaSeconds: null });
  });
  test('of an ended job does not move with the clock', () => {
    const ended = job('completed', '2026-01-01T00:00:00Z', '2026-01-01T00:00:05Z');
    expect(progressOf(ended, now)).toMatchObject({ itemsPerSecond: 5, etaSeconds: 0 });
  });
});
