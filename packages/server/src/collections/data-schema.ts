import { createContext, Script } from 'node:vm';
import type { JsonObject } from '@docket/engine';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import ajvFormats from 'ajv-formats';

/** Bytes of a JSON Schema as JSON. */
export const schemaBytes = 65_536;

/** Says what is wrong with a case's data and where inside it, or undefined. */
export type DataCheck = (data: JsonObject) => { pointer: string; message: string } | undefined;

/** A JSON Schema that cannot be used; the message says why. */
export class SchemaRefusal extends Error {
  override readonly name = 'SchemaRefusal';
}

const compileMs = 1_000;
const checkMs = 50;
/** Checks that ran out of time before the schema is given up. */
const patience = 3;

/**
 * Compiles a JSON Schema (draft 2020-12) for the data of cases. Tenants write these schemas, so each stands alone: nothing is
 * fetched, nothing is shared between schemas, and neither compiling nor checking can hold the process. Throws SchemaRefusal.
 */
export function compileDataSchema(schema: JsonObject): DataCheck {
  const text = JSON.stringify(schema);
  if (Buffer.byteLength(text) > schemaBytes) throw new SchemaRefusal(`It is larger than ${schemaBytes} bytes.`);
  if (text.includes('"$async"')) throw new SchemaRefusal('It has the member "$async", which is not allowed.');
  const validate = compile(schema);
  if (!mayRunLong(text)) return (data) => firstProblem(validate, data);
  let overruns = 0;
  return (data) => {
    try {
      if (overruns < patience) return withinTime(checkMs, () => firstProblem(validate, data));
    } catch {
      overruns++;
    }
    return { pointer: '', message: 'takes too long to check against the schema of its case type' };
  };
}

function compile(schema: JsonObject): ValidateFunction {
  const ajv = new Ajv2020({ strict: false, allErrors: false, inlineRefs: false, logger: false });
  ajvFormats.default(ajv);
  try {
    return withinTime(compileMs, () => ajv.compile(schema));
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code === 'ERR_SCRIPT_EXECUTION_TIMEOUT')
      throw new SchemaRefusal('It is too complex: it takes too long to read.');
    const remote = /can't resolve reference (\S+)/.exec(message)?.[1];
    throw new SchemaRefusal(
      remote ? `It refers to ${remote}, which is not in it; nothing is fetched from elsewhere.` : `${message}.`,
      { cause: error },
    );
  }
}

function firstProblem(validate: ValidateFunction, data: JsonObject): ReturnType<DataCheck> {
  if (validate(data)) return undefined;
  const error = validate.errors?.[0];
  return { pointer: error?.instancePath ?? '', message: error?.message ?? 'is not valid' };
}

/**
 * Whether the time of a check can grow faster than schema times data: backtracking patterns, references that fan out or go in
 * circles, comparisons of all pairs. A watched check costs about 0.25 ms more, so only these are watched.
 */
function mayRunLong(text: string): boolean {
  return text.length > 8_192 || /"(pattern|patternProperties|\$ref|\$dynamicRef|uniqueItems)"/.test(text);
}

const box = createContext({ run: () => undefined as unknown });
const script = new Script('run()');

/** Runs `work`, which is synchronous, and throws when it takes longer: the only way to interrupt a regular expression. */
function withinTime<Result>(timeout: number, work: () => Result): Result {
  box.run = work;
  return script.runInContext(box, { timeout }) as Result;
}
