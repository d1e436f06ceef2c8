/** Who may import whom: docs/ARCHITECTURE.md. */
const layer = (from, allowed) => ({
  name: `${from}-imports`,
  severity: 'error',
  from: { path: `^${from}/` },
  to: { path: '^(lib|vr|fsservice|checkpoint|client|server|mount|cli|test)/', pathNot: `^(${[from, ...allowed].join('|')})/` },
});
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    layer('lib', []),
    layer('vr', ['lib']),
    layer('fsservice', ['lib', 'vr']),
    { name: 'fsservice-takes-types-of-vr', severity: 'error', from: { path: '^fsservice/' }, to: { path: '^vr/', dependencyTypesNot: ['type-only'] } },
    layer('checkpoint', ['lib']),
    layer('client', ['lib', 'vr', 'fsservice', 'checkpoint']),
    // Whoever verifies a proof or compares trees hashes what the tree hashes; these files and what they import are pure, and open no database.
    { name: 'client-takes-proofs-of-checkpoint', severity: 'error', from: { path: '^client/' }, to: { path: '^checkpoint/', pathNot: '^checkpoint/(proof|proof_codec|tree_diff)\\.ts$' } },
    { name: 'proofs-are-pure', severity: 'error', from: { path: '^checkpoint/(proof|proof_codec|tree_diff)\\.ts$' }, to: { path: '^checkpoint/(level_|record_store|key_value_store|direct_file|donor|fetcher|slices)', reachable: true } },
    { name: 'client-takes-the-client-half-of-vr', severity: 'error', from: { path: '^client/' }, to: { path: '^vr/', pathNot: '^vr/(client|messages|message_codec|configuration|entry|superblock|frame)', dependencyTypesNot: ['type-only'] } },
    layer('server', ['lib', 'vr', 'fsservice', 'checkpoint', 'client']),
    layer('mount', ['lib', 'client', 'fsservice']),
    layer('cli', ['lib', 'client', 'server', 'mount', 'fsservice', 'vr']),
    { name: 'no-test-in-product', severity: 'error', from: { pathNot: '^test/' }, to: { path: '^test/' } },
    { name: 'pure-vr-and-fsservice', severity: 'error', from: { path: '^(vr|fsservice)/' }, to: { dependencyTypes: ['core', 'npm'] } },
    { name: 'one-file-knows-level', severity: 'error', from: { pathNot: '^(checkpoint/level_store\\.ts|test/)' }, to: { path: 'node_modules/(level|classic-level|abstract-level)/' } },
    { name: 'not-resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'default'], extensions: ['.ts', '.js', '.d.ts'] },
  },
};
