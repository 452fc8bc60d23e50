package census

// Lines counts the lines of source text by what is on them.
type Lines struct {
	Code    int `json:"code"`    // at least one token
	Comment int `json:"comment"` // nothing but comments
	Blank   int `json:"blank"`
}

// Total is the number of lines.
func (l Lines) Total() int { return l.Code + l.Comment + l.Blank }

func (l Lines) plus(o Lines) Lines {
	return Lines{Code: l.Code + o.Code, Comment: l.Comment + o.Comment, Blank: l.Blank + o.Blank}
}

// Counts are the numbers that add up, from file to package to tree.
type Counts struct {
	Files          int   `json:"files"`      // all files
	TestFiles      int   `json:"test_files"` // of these, named _test.go
	GeneratedFiles int   `json:"generated_files"`
	Source         Lines `json:"source"`          // files that are neither tests nor generated
	Test           Lines `json:"test"`            // test files
	Generated      Lines `json:"generated"`       // generated files that are no tests
	Functions      int   `json:"functions"`       // declared, without receiver, tests aside
	Methods        int   `json:"methods"`         // declared, with receiver, tests aside
	TestFunctions  int   `json:"test_functions"`  // functions and methods in test files
	Types          int   `json:"types"`           // declared at top level, tests aside
	GenericFuncs   int   `json:"generic_funcs"`   // of the functions, those with type parameters
	GenericTypes   int   `json:"generic_types"`   // of the types, those with type parameters
	Exported       int   `json:"exported"`        // exported names, each once per package, tests aside
	Documented     int   `json:"documented"`      // of these, those with a doc comment
	Panics         int   `json:"panics"`          // calls of panic, tests aside
	GoStatements   int   `json:"go_statements"`   // go statements, tests aside
	Complexity     int   `json:"complexity"`      // cognitive complexity, summed over hand-written functions
	ComplexOver15  int   `json:"complex_over_15"` // hand-written functions whose cognitive complexity exceeds 15
}

// Lines is every line of every kind of file.
func (c Counts) Lines() Lines {
	return c.Source.plus(c.Test).plus(c.Generated)
}

// Coverage is the documented share of exported names, 0 to 1; ok is false where nothing is exported.
func (c Counts) Coverage() (share float64, ok bool) {
	if c.Exported == 0 {
		return 0, false
	}
	return float64(c.Documented) / float64(c.Exported), true
}

func (c Counts) plus(o Counts) Counts {
	c.Files += o.Files
	c.TestFiles += o.TestFiles
	c.GeneratedFiles += o.GeneratedFiles
	c.Source = c.Source.plus(o.Source)
	c.Test = c.Test.plus(o.Test)
	c.Generated = c.Generated.plus(o.Generated)
	c.Functions += o.Functions
	c.Methods += o.Methods
	c.TestFunctions += o.TestFunctions
	c.Types += o.Types
	c.GenericFuncs += o.GenericFuncs
	c.GenericTypes += o.GenericTypes
	c.Exported += o.Exported
	c.Documented += o.Documented
	c.Panics += o.Panics
	c.GoStatements += o.GoStatements
	c.Complexity += o.Complexity
	c.ComplexOver15 += o.ComplexOver15
	return c
}

// A Package is one directory of Go files.
type Package struct {
	Path   string `json:"path"`   // below the root, slash-separated
	Name   string `json:"name"`   // from the package clause of the first file that is no test
	Public bool   `json:"public"` // importable from elsewhere: neither a command nor internal
	Doc    bool   `json:"doc"`    // has a package comment
	Counts
}

// A Function is a declared function or method, with where it stands.
type Function struct {
	Package    string `json:"package"`
	Name       string `json:"name"` // "Read", "Conn.Read", "(*Conn).Read"
	File       string `json:"file"` // base name
	Line       int    `json:"line"`
	Lines      int    `json:"lines"`      // from func to the closing brace
	Cyclomatic int    `json:"cyclomatic"` // independent paths
	Cognitive  int    `json:"cognitive"`  // how hard the flow is to follow
	Nesting    int    `json:"nesting"`    // deepest level of nested control flow
}

// A Problem is a file that does not parse.
type Problem struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// An Analysis is what one shard holds.
type Analysis struct {
	Shard         int            `json:"shard"`
	Files         int            `json:"files"`
	Bytes         int64          `json:"bytes"`
	ElapsedMillis int64          `json:"elapsed_ms"`
	Packages      []Package      `json:"packages"`
	Lengths       map[int]int    `json:"lengths"` // function length in lines -> functions; hand-written, no tests
	Complexities  map[int]int    `json:"complexities"`
	Imports       map[string]int `json:"imports"` // import path -> packages that import it outside tests
	Longest       []Function     `json:"longest"`
	MostComplex   []Function     `json:"most_complex"`
	Problems      []Problem      `json:"problems,omitempty"`
}

// A Comparison is what one shard has in common with the shards it was compared with.
type Comparison struct {
	Shard         int    `json:"shard"`
	Bodies        int    `json:"bodies"` // of this shard that are long enough to be compared
	Links         []Link `json:"links"`
	ElapsedMillis int64  `json:"elapsed_ms"`
}

// A Link joins two functions with the same or nearly the same body.
type Link struct {
	A          Site    `json:"a"`
	B          Site    `json:"b"`
	Similarity float64 `json:"similarity"` // share of common tokens, two decimals; 1 = equal but for names
}

// A Site is where a function body stands.
type Site struct {
	At    string `json:"at"` // "net/http/server.go:12 Name"
	Lines int    `json:"lines"`
}
