import { expect, it } from 'vitest';
import { renderEvent, splitIds } from '../../src/webhooks/events.ts';

const job = {
  jobId: 'job_0199c1d27c1e7b6a9f652f6f0c1f3a10',
  status: 'completed',
  summary: { total: 2, succeeded: 1, failed: 1, notProcessed: 0 },
  error: null,
};
const stored = {
  eventId: '0199c1d2-7c1e-7b6a-9f65-2f6f0c1f3a11',
  type: 'job.completed',
  occurredAt: '2026-05-04T09:20:02.871Z',
  data: job,
};

it('the standard envelope is type, timestamp and data', () => {
  const { body, contentType } = renderEvent(stored, 'standard');
  expect(contentType).toBe('application/json');
  const { error: _, ...told } = job;
  const links = { self: `/api/v1/jobs/${job.jobId}`, results: `/api/v1/jobs/${job.jobId}/results` };
  expect(JSON.parse(body)).toEqual({
    type: 'job.completed',
    timestamp: stored.occurredAt,
    data: { ...told, outcome: 'some_failed', links },
  });
});

it('CloudEvents 1.0 has its required attributes', () => {
  const { body, contentType } = renderEvent(stored, 'cloudevents');
  expect(contentType).toBe('application/cloudevents+json');
  expect(JSON.parse(body)).toMatchObject({
    specversion: '1.0',
    id: 'msg_0199c1d27c1e7b6a9f652f6f0c1f3a11',
    source: '/api/v1',
    type: 'job.completed',
    time: stored.occurredAt,
    subject: job.jobId,
    datacontenttype: 'application/json',
    data: { outcome: 'some_failed' },
  });
});

it('ids are split so that each event stays under 20 kB, and none is lost', () => {
  for (const id of ['x', 'long'.repeat(60), 'ü'.repeat(255), '"\\'.repeat(100)]) {
    const ids = Array.from({ length: 1_000 }, (_, n) => `${id}${n}`);
    const parts = splitIds(ids);
    expect(parts.flat()).toEqual(ids);
    for (const part of parts) {
      const { body } = renderEvent(
        { ...stored, type: 'cases.updated', data: { jobId: job.jobId, ids: part } },
        'cloudevents',
      );
      expect(Buffer.byteLength(body)).toBeLessThan(20_000);
    }
  }
  expect(splitIds(['a', 'b'])).toEqual([['a', 'b']]);
  expect(splitIds([])).toEqual([]);
});
