import { isJsonObject, type Json, type JsonObject } from './json.ts';

/**
 * Applies an RFC 7396 JSON merge patch: a member that is null is removed, an object is merged, anything else (arrays too)
 * replaces. Neither argument is changed.
 */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const merged: JsonObject = isJsonObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = mergePatch(merged[name], value);
  }
  return merged;
}
