// Package census counts what is in a Go source tree: lines, functions, documentation, complexity,
// imports, generics and duplicated bodies.
//
// The work is cut so that a workflow can spread it: [Discover] walks the tree and deals the packages
// into shards of even weight, [Analyse] reads one shard and nothing else, [Merge] adds the analyses up.
// Each is a function of its arguments and the files on disk, so any of them may run twice.
//
// Nothing is type-checked. All files count, whatever their build tags, which is why a package with one file
// per operating system is larger here than in any one build.
package census
