import { pointerSegment } from '@docket/engine';
import { Ajv } from 'ajv';
import ajvFormats from 'ajv-formats';
import type { FastifyError, FastifyRequest, FastifySchemaCompiler, RouteOptions } from 'fastify';
import { ApiError } from './problems.ts';

/**
 * Checks what schemas say and changes nothing: unknown members stay, and text becomes a number, a boolean or a list of one only
 * where all there is, is text: in the query and the path.
 */
export function createValidatorCompiler(): FastifySchemaCompiler<object> {
  const options = { strict: false, allErrors: false, useDefaults: true, removeAdditional: false } as const;
  const exact = new Ajv({ ...options, coerceTypes: false });
  const coercing = new Ajv({ ...options, coerceTypes: 'array' });
  for (const ajv of [exact, coercing]) ajvFormats.default(ajv);
  return ({ schema, httpPart }) => {
    const ajv = httpPart === 'body' ? exact : coercing;
    return ajv.compile(schema);
  };
}

/** Makes a route refuse every query parameter that it does not declare; to be used as an `onRoute` hook. */
export function refuseUnknownParameters(route: RouteOptions): void {
  if ((route.schema as { hide?: boolean } | undefined)?.hide) return;
  const declared = (route.schema?.querystring ?? { type: 'object', properties: {} }) as object;
  route.schema = { ...route.schema, querystring: { ...declared, additionalProperties: false } };
}

interface Violation {
  keyword: string;
  instancePath: string;
  message?: string;
  params: Record<string, unknown>;
}

/** The problem that a schema violation of a request is. */
export function describeViolation(error: FastifyError, request: FastifyRequest): ApiError {
  const violation = summarize((error.validation ?? []) as unknown as Violation[]);
  const part = error.validationContext;
  if (part === 'querystring' && violation?.keyword === 'additionalProperties') {
    return unknownParameter(String(violation.params.additionalProperty), request);
  }
  const pointer = pointerOf(violation);
  const message = messageOf(violation);
  if (part === 'body') {
    const where = pointer === '' ? 'The body' : `The body at ${pointer}`;
    const absent = pointer === '' && request.rawBody?.length === 0;
    const detail = absent ? 'The request has no body. Send JSON.' : `${where} ${message}.`;
    return new ApiError('malformed_body', detail, { errors: [{ pointer, message: detail }] });
  }
  const detail = `The ${partNames[part ?? ''] ?? 'parameter'} "${pointer.slice(1)}" ${message}.`;
  return new ApiError('invalid_parameter', detail, { errors: [{ pointer, message: detail }] });
}

/** A value that fits none of several constants breaks each of their rules; that is one thing to say, not many. */
function summarize(violations: readonly Violation[]): Violation | undefined {
  const last = violations.at(-1);
  if (last?.keyword !== 'anyOf') return violations[0];
  const branches = violations.slice(0, -1);
  if (!branches.every(({ keyword, instancePath }) => keyword === 'const' && instancePath === last.instancePath))
    return last;
  return { ...last, keyword: 'enum', params: { allowedValues: branches.map(({ params }) => params.allowedValue) } };
}

const partNames: Record<string, string> = {
  querystring: 'query parameter',
  params: 'path parameter',
  headers: 'header',
};

function unknownParameter(name: string, request: FastifyRequest): ApiError {
  const schema = request.routeOptions.schema?.querystring as { properties?: object } | undefined;
  const known = Object.keys(schema?.properties ?? {});
  const list = known.length === 0 ? 'There are none here.' : `The parameters here are: ${known.join(', ')}.`;
  return new ApiError('unknown_option', `There is no query parameter ${JSON.stringify(name)}. ${list}`, {
    errors: [{ pointer: pointerSegment(name), message: `Unknown query parameter ${JSON.stringify(name)}.` }],
  });
}

function pointerOf(violation: Violation | undefined): string {
  if (!violation) return '';
  const { instancePath, keyword, params } = violation;
  if (keyword === 'required') return instancePath + pointerSegment(String(params.missingProperty));
  if (keyword === 'additionalProperties') return instancePath + pointerSegment(String(params.additionalProperty));
  return instancePath;
}

function messageOf(violation: Violation | undefined): string {
  if (!violation) return 'is not valid';
  const { keyword, params, message } = violation;
  if (keyword === 'required') return 'is missing';
  if (keyword === 'additionalProperties') return 'is not known here';
  if (keyword === 'enum') {
    return `must be one of ${(params.allowedValues as unknown[]).map((value) => JSON.stringify(value)).join(', ')}`;
  }
  if (keyword === 'const') return `must be ${JSON.stringify(params.allowedValue)}`;
  return message ?? 'is not valid';
}
