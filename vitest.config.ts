import { defineConfig } from 'vitest/config';

const conditions = ['docket-source'];

export default defineConfig(({ mode }) => ({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    globalSetup: ['test/global-setup.ts'],
    maxWorkers: 2,
    // `vitest run --mode faults`: all rounds of the faults
    provide: { faultRounds: mode === 'faults' ? 'full' : 'short' },
  },
}));
