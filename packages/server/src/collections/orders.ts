import {
  type CheckInput,
  type CollectionMount,
  defineCollection,
  type Lifecycle,
  type Rejection,
} from '@docket/engine';
import { Type } from 'typebox';

const orderLifecycle: Lifecycle = {
  statuses: ['pending', 'paid', 'shipped', 'delivered', 'cancelled', 'refunded'],
  initial: 'pending',
  transitions: {
    pending: ['paid', 'cancelled'],
    paid: ['shipped', 'refunded', 'cancelled'],
    shipped: ['delivered'],
    delivered: ['refunded'],
  },
};

/** Orders: a second collection, defined as any other would be. */
const collection = defineCollection({
  name: 'orders',
  idField: 'orderId',
  table: {
    name: 'docket.orders',
    id: 'order_id',
    tenant: 'tenant_id',
    version: 'version',
    createdAt: 'created_at',
    updatedAt: 'updated_at',
  },
  fields: Type.Object({
    status: Type.Enum([...orderLifecycle.statuses], { type: 'string', description: 'Where the order stands.' }),
    customer: Type.String({ minLength: 1, maxLength: 255, description: 'Who ordered.' }),
    amount: Type.Number({ minimum: 0, maximum: 999_999_999_999.99, description: 'With two decimals at most.' }),
    currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217, three capital letters.' }),
    note: Type.Optional(Type.String({ maxLength: 2_000 })),
  }),
  lifecycle: { field: 'status', of: orderLifecycle },
  check: checkOrder,
  rulesRead: [],
  filters: {
    status: { op: 'equals', field: 'status' },
    customer: { op: 'equals', field: 'customer' },
    currency: { op: 'equals', field: 'currency' },
    updatedSince: { op: 'atLeast', field: 'updatedAt' },
    q: { op: 'contains', fields: ['orderId', 'customer', 'note'] },
  },
  sortable: ['status', 'customer', 'amount'],
});

export const orders: CollectionMount = { collection };

function checkOrder({ after, changed }: CheckInput<unknown>): Rejection | undefined {
  const amount = after.fields.amount as number;
  // why: the column would round further decimals in silence
  if (!changed.includes('amount') || Number(amount.toFixed(2)) === amount) return undefined;
  return { code: 'validation_failed', message: 'amount must have at most two decimals.', field: 'amount' };
}
