package template

// Options says how a template is read.
type Options struct {
	// Environment names the overrides to apply; "" = none. A template that has none of
	// that name is read as its base.
	Environment string
}

// Parse reads a template from src. The error is a list of [Diagnostics], everything at
// once; filename is only used in them.
func Parse(filename string, src []byte, opts Options) (*Template, error) {
	return nil, Diagnostics{{File: filename, Message: "reading files is not built yet: use New"}}
}
