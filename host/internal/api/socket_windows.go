package api

import "io/fs"

// ownedByUs reports whether the file belongs to the user of this process. On Windows
// the temporary directory is the user's own.
func ownedByUs(fs.FileInfo) bool { return true }
