// A certified OpenID provider at which people sign in, for the tests: `node signin.mjs NODE_MODULES [PORT [OPTIONS]]`.
//
// Prints its port. OPTIONS is JSON: {"rotate": true, "claims": "id_token" or "userinfo", "lifetime": seconds of an access token,
// "key": a JWK to sign with, so that a provider can be started anew with it}.
// Tests talk to it beside the protocol: POST /test/client registers a client, /test/account sets the claims of an account,
// /test/disable takes it away, /test/keys changes the signing key, /test/counts counts token requests by grant, /test/tokens
// the tokens that were issued. A form asks for the name of the account; every password is good, and consent is not asked for.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const { default: Provider, errors } = await import(pathToFileURL(`${process.argv[2]}/oidc-provider/lib/index.js`));

const options = { rotate: true, claims: 'id_token', lifetime: 60, ...JSON.parse(process.argv[4] ?? '{}') };

const newKey = () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'ES256' };
};

const store = new Map();
const accounts = new Map();
const counts = {};
class Adapter {
  constructor(name) { this.name = name; }
  async upsert(id, payload) { store.set(`${this.name}:${id}`, payload); }
  async find(id) { return store.get(`${this.name}:${id}`); }
  async findByUid(uid) {
    return [...store].find(([key, one]) => key.startsWith(`${this.name}:`) && one.uid === uid)?.[1];
  }
  async findByUserCode() { return undefined; }
  async consume(id) { store.get(`${this.name}:${id}`).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(`${this.name}:${id}`); }
  async revokeByGrantId(grantId) {
    for (const [key, one] of store) if (one.grantId === grantId) store.delete(key);
  }
}

const make = (issuer, keys) => new Provider(issuer, {
  adapter: Adapter,
  jwks: { keys },
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  enabledJWA: { clientAuthSigningAlgValues: ['ES256', 'RS256', 'EdDSA'] },
  scopes: ['openid', 'offline_access'],
  claims: {
    openid: ['sub', 'sid', 'groups', 'amr', 'acr', 'auth_time'],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
  },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  conformIdTokenClaims: options.claims === 'userinfo',
  cookies: { keys: [randomUUID()] },
  pkce: { methods: ['S256'], required: () => true },
  rotateRefreshToken: options.rotate,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: { AccessToken: options.lifetime, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600, IdToken: 300, AuthorizationCode: 60 },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true, logoutSource: (ctx, form) => { ctx.body = SIGN_OUT(form); } },
    introspection: { enabled: true },
    clientCredentials: { enabled: true },
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid profile email offline_access');
    await grant.save();
    return grant;
  },
  findAccount: async (ctx, id) => (accounts.has(id) ? { accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) } : undefined),
});

const text = async (request) => {
  let found = '';
  for await (const part of request) found += part;
  return found;
};

const FORM = (hint) => `<!doctype html><html lang="en"><title>The provider</title><h1>The provider</h1><form method="post">
<label>Account <input name="account" value="${hint.replace(/[^a-z0-9@.-]/g, '')}"></label>
<label>Password <input name="password" type="password"></label><button>Sign in at the provider</button></form>`;

const SIGN_OUT = (form) => `<!doctype html><html lang="en"><title>The provider</title><h1>The provider</h1>${form}
<button form="op.logoutForm" name="logout" value="yes">Sign out at the provider</button>`;

async function interaction(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('Content-Type', 'text/html');
    response.end(FORM(params.login_hint ?? ''));
    return;
  }
  const account = new URLSearchParams(await text(request)).get('account');
  const result = accounts.has(account)
    ? { login: { accountId: account, amr: accounts.get(account).amr ?? ['pwd'] } }
    : { error: 'access_denied', error_description: 'the user said <no>' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

const tests = {
  client: (one) => store.set(`Client:${one.client_id}`, one),
  account: ({ id, ...claims }) => accounts.set(id, claims),
  disable: ({ id }) => accounts.delete(id),
  keys: () => { keys = [newKey()]; provider = start(provider.issuer); },
  counts: () => counts,
  tokens: () => Object.fromEntries([...store.keys()].filter((key) => /^(Refresh|Access)Token:/.test(key)).map((key) => [key.split(':')[1], ''])),
};

let keys = [options.key ?? newKey()];
let provider;
const start = (issuer) => {
  const made = make(issuer, keys);
  for (const name of ['grant.success', 'grant.error']) {
    made.on(name, (ctx) => { const grant = ctx.oidc.params?.grant_type ?? 'none'; counts[grant] = (counts[grant] ?? 0) + 1; });
  }
  return made;
};

const server = createServer(async (request, response) => {
  try {
    if (request.url.startsWith('/test/')) {
      const found = tests[request.url.slice(6)](JSON.parse((await text(request)) || '{}'));
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify(found instanceof Map ? {} : found ?? {}));
    } else if (request.url.startsWith('/interaction/')) {
      await interaction(request, response);
    } else {
      provider.callback()(request, response);
    }
  } catch (error) {
    response.statusCode = error instanceof errors.OIDCProviderError ? error.statusCode : 500;
    response.end(String(error.stack));
  }
});

server.listen(Number(process.argv[3] ?? 0), '127.0.0.1', () => {
  const { port } = server.address();
  provider = start(`http://127.0.0.1:${port}`);
  console.log(`PORT ${port}`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0)); // with the test that started it
