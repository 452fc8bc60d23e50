//go:build !linux

package bench

import "os"

// What other systems do not tell without a library stays unsaid.

func memoryUsed() (rss, anon int64) { return 0, 0 }

// syncMode says what a commit waits for.
const syncMode = "fsync"

// syncData waits until what was written to the file is on the disk.
func syncData(f *os.File) error { return f.Sync() }

func processor() string { return "" }

func memory() string { return "" }

func kernel() string { return "" }

func fileSystem(string) string { return "" }
