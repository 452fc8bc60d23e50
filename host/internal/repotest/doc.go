// Package repotest holds tests of the repository as a whole: what no linter checks about the shape of
// its packages and the direction of their imports. It has no code of its own.
package repotest
