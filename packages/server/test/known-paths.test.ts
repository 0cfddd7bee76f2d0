import { expect, it } from 'vitest';
import { KnownPaths } from '../src/http/known-paths.ts';

function known(): KnownPaths {
  const paths = new KnownPaths();
  paths.add({ url: '/cases', method: ['GET', 'POST'] });
  paths.add({ url: '/cases/:caseId', method: 'GET' });
  paths.add({ url: '/cases/:caseId', method: 'PATCH' });
  paths.add({ url: '/cases/bulk-update', method: 'POST' });
  paths.add({ url: '/jobs/:id/results.csv', method: 'GET' });
  return paths;
}

it('knows the methods of the most exact path', () => {
  expect(known().methodsAt('/cases/1')).toEqual(['GET', 'OPTIONS', 'PATCH']);
  expect(known().methodsAt('/cases/bulk-update')).toEqual(['OPTIONS', 'POST']);
  expect(known().methodsAt('/jobs/1/results.csv')).toEqual(['GET', 'OPTIONS']);
  expect(known().methodsAt('/jobs/1/resultsXcsv')).toBeUndefined();
  expect(known().methodsAt('/cases/1/2')).toBeUndefined();
});

it('finds the methods that a wider path would take', () => {
  expect(known().hidden()).toEqual([{ url: '/cases/bulk-update', methods: ['GET', 'PATCH'] }]);
});
