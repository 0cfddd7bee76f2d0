/** The statuses of a kind of record and the moves between them. A status without an entry in `transitions` is final. */
export interface Lifecycle {
  statuses: readonly string[];
  initial: string;
  transitions: Readonly<Record<string, readonly string[]>>;
}

/** What is wrong with a lifecycle's definition, in words; empty when it is sound. */
export function lifecycleProblems(lifecycle: Lifecycle): string[] {
  const known = new Set(lifecycle.statuses);
  const problems: string[] = [];
  if (known.size === 0) problems.push('A lifecycle needs at least one status.');
  if (known.size !== lifecycle.statuses.length) problems.push('A status stands twice in `statuses`.');
  if (!known.has(lifecycle.initial))
    problems.push(`The initial status "${lifecycle.initial}" is not among \`statuses\`.`);
  for (const [from, targets] of Object.entries(lifecycle.transitions)) {
    if (!known.has(from)) problems.push(`\`transitions\` starts from "${from}", which is not among \`statuses\`.`);
    for (const to of targets) {
      if (!known.has(to))
        problems.push(`The transition from "${from}" goes to "${to}", which is not among \`statuses\`.`);
    }
  }
  return problems;
}
