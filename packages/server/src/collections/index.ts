import type { AnyCollectionMount } from '@docket/engine';
import { cases } from './cases.ts';
import { orders } from './orders.ts';

/** The collections that the server has without any configuration. */
export const collections: readonly AnyCollectionMount[] = [cases, orders];
