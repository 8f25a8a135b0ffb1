// A certified OpenID provider with the addresses of a Keycloak realm, for the tests: `node provider.mjs NODE_MODULES`.
//
// Prints its port. Beside what the provider does on its own, POST /offline gives an offline token (which a browser would be needed
// for), POST /rotate changes the signing key ({"keep": true} goes on publishing the one before), and POST /introspections gives how
// often it was asked about a token. Access tokens for urn:opaque are opaque, and those for
// urn:elsewhere have another audience.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const { default: Provider } = await import(pathToFileURL(`${process.argv[2]}/oidc-provider/lib/index.js`));

const BASE = '/realms/desp/protocol/openid-connect';
const newKey = () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
};

const store = new Map(); // outlives a rotation, as a database would
class Adapter {
  constructor(name) { this.name = name; }
  async upsert(id, payload) { store.set(`${this.name}:${id}`, payload); }
  async find(id) { return store.get(`${this.name}:${id}`); }
  async findByUid() { return undefined; }
  async findByUserCode() { return undefined; }
  async consume(id) { store.get(`${this.name}:${id}`).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(`${this.name}:${id}`); }
  async revokeByGrantId() {}
}

const resource = {
  scope: 'data:read offline_access openid',
  accessTokenTTL: 120,
  jwt: { sign: { alg: 'RS256' } },
};

const make = (issuer, keys) => new Provider(issuer, {
  adapter: Adapter,
  clients: [
    { client_id: 'public', token_endpoint_auth_method: 'none', grant_types: ['refresh_token', 'authorization_code'], redirect_uris: ['http://127.0.0.1/cb'], application_type: 'native' },
    { client_id: 'private', client_secret: 'p+ss:w/rd secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
  ],
  jwks: { keys },
  scopes: ['openid', 'offline_access', 'data:read'],
  routes: { token: `${BASE}/token`, introspection: `${BASE}/token/introspect`, jwks: `${BASE}/certs` },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:gateway',
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, indicator) => ({
        ...resource,
        audience: indicator === 'urn:elsewhere' ? 'elsewhere' : 'gateway',
        accessTokenFormat: indicator === 'urn:opaque' ? 'opaque' : 'jwt',
      }),
    },
  },
  rotateRefreshToken: false,
  extraTokenClaims: () => ({ preferred_username: 'alice', realm_access: { roles: ['viewer', 'a,admin'] } }),
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

let keys = [newKey()];
let provider;
let introspections = 0;

const body = async (request) => {
  let text = '';
  for await (const part of request) text += part;
  return text ? JSON.parse(text) : {};
};

async function offline({ scope = 'openid offline_access data:read', clientId = 'public' }) {
  const grant = new provider.Grant({ accountId: 'account-7', clientId });
  grant.addOIDCScope(scope);
  grant.addResourceScope('urn:gateway', scope);
  const grantId = await grant.save();
  const client = await provider.Client.find(clientId);
  const token = new provider.RefreshToken({
    accountId: 'account-7', client, grantId, gty: 'authorization_code', scope, resource: 'urn:gateway', claims: {}, authTime: Math.floor(Date.now() / 1000),
  });
  return { token: await token.save() };
}

const server = createServer(async (request, response) => {
  try {
    let answer;
    if (request.url === '/offline') {
      answer = await offline(await body(request));
    } else if (request.url === '/rotate') {
      const { keep } = await body(request);
      keys = keep ? [newKey(), ...keys] : [newKey()];
      provider = make(provider.issuer, keys);
      answer = {};
    } else if (request.url === '/introspections') {
      answer = { count: introspections };
    } else {
      if (request.url === `${BASE}/token/introspect`) introspections += 1;
      provider.callback()(request, response);
      return;
    }
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(answer));
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error.stack));
  }
});

server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  provider = make(`http://127.0.0.1:${port}`, keys);
  console.log(`PORT ${port}`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0)); // with the test that started it
