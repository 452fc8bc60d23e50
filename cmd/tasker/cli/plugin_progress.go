package cli

import (
	"fmt"
	"strings"
)

// downloadBar draws how far a download is, on one line of a terminal. Without a terminal it draws
// nothing.
type downloadBar struct {
	screen *screen
	what   string
	shown  string // on the line now; empty = nothing
}

func (a *app) newBar(what string) *downloadBar {
	return &downloadBar{screen: a.terminal(a.stderr), what: what}
}

// update draws; total below 0 is unknown.
func (b *downloadBar) update(done, total int64) {
	if b.screen == nil {
		return
	}
	width, _ := b.screen.size()
	if line := barLine(b.what, done, total, width-1); line != b.shown {
		b.shown = line
		_, _ = fmt.Fprint(b.screen.w, "\r"+line+"\x1b[K") // only for show
	}
}

// close leaves the line as it is and goes to the next one.
func (b *downloadBar) close() {
	if b.shown != "" {
		_, _ = fmt.Fprintln(b.screen.w) // only for show
		b.shown = ""
	}
}

// barLine is "what [####......]  40%  1.2 MiB of 3.0 MiB" in so many columns.
func barLine(what string, done, total int64, width int) string {
	const cells = 24
	text := size(done)
	if total > 0 {
		n := int(min(done, total) * cells / total)
		text = fmt.Sprintf("[%s%s] %3d%%  %s of %s", strings.Repeat("#", n), strings.Repeat(".", cells-n), min(done, total)*100/total, size(done), size(total))
	}
	return cut(cut(printable(what, false), max(width-len(text)-1, 0))+" "+text, width)
}
