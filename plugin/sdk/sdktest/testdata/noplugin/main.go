// Command noplugin is none.
package main

import "os"

func main() {
	_, _ = os.Stderr.WriteString("I am no plugin.\n")
	os.Exit(3)
}
