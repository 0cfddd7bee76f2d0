import { isJsonObject, type Json, type JsonObject, setMember } from './json.ts';

/**
 * Applies an RFC 7396 JSON merge patch: a member that is null is removed, an object is merged, anything else (arrays too)
 * replaces. Neither argument is changed.
 */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const merged: JsonObject = isJsonObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else setMember(merged, name, mergePatch(Object.hasOwn(merged, name) ? merged[name] : undefined, value));
  }
  return merged;
}
