import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Served, serve } from './served.ts';

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served?.stop());

it('is a valid document whose examples fit its schemas', async () => {
  const { text } = await served.call('GET', '/openapi.json');
  const config = await createConfig({
    extends: ['recommended'],
    rules: { 'no-invalid-media-type-examples': 'error', 'no-invalid-parameter-examples': 'error' },
  });
  const problems = await lintFromString({ source: text, absoluteRef: '/openapi.json', config });
  expect(problems.map(({ message, location }) => `${location[0]?.pointer}: ${message}`)).toEqual([]);
});

interface Operation {
  summary?: string;
  tags?: string[];
  requestBody?: { content: Record<string, { example?: unknown; examples?: unknown }> };
  responses: Record<
    string,
    { content?: Record<string, { example?: unknown; examples?: unknown; schema?: { examples?: unknown } }> }
  >;
}

it('has a summary, a tag and examples on every operation', async () => {
  const { body } = await served.call('GET', '/openapi.json');
  const lacking: string[] = [];
  for (const [path, operations] of Object.entries<Record<string, Operation>>(body.paths)) {
    for (const [method, { summary, tags, requestBody, responses }] of Object.entries(operations)) {
      const bodies = [requestBody?.content ?? {}, ...Object.values(responses).map(({ content }) => content ?? {})];
      const shown = bodies
        .flatMap((content) => Object.entries(content))
        .filter(([type]) => type !== 'application/problem+json');
      const withoutExample = shown.filter(([, { example, examples, ...rest }]) => {
        return (
          example === undefined &&
          examples === undefined &&
          !('schema' in rest && JSON.stringify(rest).includes('"examples"'))
        );
      });
      if (!summary || !tags?.length || withoutExample.length > 0) lacking.push(`${method} ${path}`);
    }
  }
  expect(lacking).toEqual([]);
});
