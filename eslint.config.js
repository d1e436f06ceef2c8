import tseslint from 'typescript-eslint';

const pure = ['vr/**/*.ts', 'fsservice/**/*.ts'];

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'data/**', 'mnt/**', '*.cjs', 'scripts/**'] },
  ...tseslint.configs.strict,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ['eslint.config.js', 'vitest.config.ts', 'vitest.e2e.config.ts', 'vitest.recovery.config.ts'] }, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/unified-signatures': 'off',
      'no-empty': ['error', { allowEmptyCatch: false }],
      eqeqeq: 'error',
    },
  },
  {
    files: pure,
    rules: {
      'no-restricted-globals': ['error', 'Date', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'process', 'performance', 'fetch', 'Promise'],
      'no-restricted-properties': ['error', { object: 'Math', property: 'random', message: 'randomness comes in through a port' }],
      'no-restricted-syntax': [
        'error',
        { selector: ':function[async=true]', message: 'vr/ and fsservice/ run to completion: no async' },
        { selector: 'AwaitExpression', message: 'vr/ and fsservice/ run to completion: no await' },
      ],
    },
  },
  { files: ['eslint.config.js'], ...tseslint.configs.disableTypeChecked },
);
