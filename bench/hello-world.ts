import Fastify from 'fastify';

/** The least that Fastify can do: the measure for requests that read a case. */
const app = Fastify();
app.get(
  '/',
  { schema: { response: { 200: { type: 'object', properties: { hello: { type: 'string' } } } } } },
  async () => ({
    hello: 'world',
  }),
);
process.stdout.write(`ready at ${await app.listen({ port: 0, host: '127.0.0.1' })}\n`);
