import { itemCodes } from '@docket/engine';
import { Type } from 'typebox';
import type { Api } from './api.ts';
import { escapeHtml, page } from './html.ts';
import { ApiError, type ProblemCode, problemCodes, problemKinds } from './problems.ts';

/** Serves /errors and /errors/{code}: what the `type` of a problem document leads to. */
export function registerErrorPages(app: Api): void {
  const html = 'text/html; charset=utf-8';
  const index = renderIndex();
  const pages = new Map<string, string>(problemCodes.map((code) => [code, renderCode(code)]));
  app.get('/errors', { schema: { hide: true } }, (_request, reply) => reply.type(html).send(index));
  app.get(
    '/errors/:code',
    { schema: { hide: true, params: Type.Object({ code: Type.String() }) } },
    (request, reply) => {
      const found = pages.get(request.params.code);
      if (found === undefined)
        throw new ApiError('route_not_found', 'There is no error with this code. All are at /errors.');
      return reply.type(html).send(found);
    },
  );
}

function renderIndex(): string {
  const rows = problemCodes.map((code) => {
    const { status, title } = problemKinds[code];
    return `<tr><td><a href="/errors/${code}"><code>${code}</code></a></td><td>${status}</td><td>${escapeHtml(title)}</td></tr>`;
  });
  return page(
    'Errors · Docket',
    `<nav><a href="/docs">Reference</a></nav>
<h1>Errors</h1>
<p>Every error is an <a href="https://www.rfc-editor.org/rfc/rfc9457">RFC 9457</a> problem document. Branch on its
<code>code</code>: a code is stable and never used for something else.</p>
<table><thead><tr><th>code</th><th>status</th><th>meaning</th></tr></thead><tbody>
${rows.join('\n')}
</tbody></table>`,
  );
}

function renderCode(code: ProblemCode): string {
  const { status, title, description, remedy } = problemKinds[code];
  const example = { type: `/errors/${code}`, title, status, detail: '…', code, requestId: '…' };
  const inItems = (itemCodes as readonly string[]).includes(code)
    ? `<h2>In a batch</h2>
<p>Stands in the result of one item, as <code>error.code</code>. The other items are not affected, and the answer as a whole
is a success: the batch was processed.</p>`
    : '';
  return page(
    `${code} · Docket`,
    `<nav><a href="/docs">Reference</a> · <a href="/errors">Errors</a></nav>
<p class="dim"><code>${code}</code> · ${status}</p>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(description)}</p>
<h2>What to do</h2>
<p>${escapeHtml(remedy)}</p>
${inItems}
<h2>As a problem document</h2>
<pre><code>${escapeHtml(JSON.stringify(example, null, 2))}</code></pre>`,
  );
}
