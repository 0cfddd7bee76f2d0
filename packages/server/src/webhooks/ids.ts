/** The endpoint that stands for the callbacks of single jobs, in the tables. */
export const callbacksId = '00000000-0000-0000-0000-000000000000';
const callbacksName = 'callbacks';

/** Public form of an endpoint's id: `wh_` and 32 hexadecimal digits, or `callbacks`. */
export function presentEndpointId(uuid: string): string {
  return uuid === callbacksId ? callbacksName : `wh_${uuid.replaceAll('-', '')}`;
}

/** The UUID within a public id of an endpoint; undefined when it is none. */
export function parseEndpointId(id: string): string | undefined {
  return id === callbacksName ? callbacksId : uuidOf(/^wh_([0-9a-f]{32})$/.exec(id)?.[1]);
}

/** Public form of an event's id: `webhook-id` of each attempt, and the id of its deliveries. */
export function presentEventId(uuid: string): string {
  return `msg_${uuid.replaceAll('-', '')}`;
}

/** The UUID within a public id of an event; undefined when it is none. */
export function parseEventId(id: string): string | undefined {
  return uuidOf(/^msg_([0-9a-f]{32})$/.exec(id)?.[1]);
}

function uuidOf(hex: string | undefined): string | undefined {
  return hex?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
