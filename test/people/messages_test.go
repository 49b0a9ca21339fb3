package people

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// refusal matches words that end a conversation; way matches words that go on with it.
var (
	refusal = regexp.MustCompile(`(?i)\b(not|isn't|aren't|un)[ -]?supported|\bnot implemented|does not support|no support for`)
	way     = regexp.MustCompile(`(?i)\b(write|use|set|name|update|install|leave|remove|give|run|build|choose|put|ask|see)\b`)
)

// TestNoMessageIsADeadEnd: whatever a message says is not supported, it says what to do instead, in the same string or
// in another one of the same statement.
func TestNoMessageIsADeadEnd(t *testing.T) {
	t.Parallel()
	looked := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		other := []string{".git", "build", "test", "bench", "faultyregistry"}
		if d.IsDir() && (slices.Contains(other, d.Name()) || strings.HasSuffix(d.Name(), "test")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		looked++
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		for _, dead := range deadEnds(f) {
			t.Errorf("%s: the message %q says no, and not what to do instead", files.Position(dead.Pos()), dead.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < 300 {
		t.Errorf("only %d files were read", looked)
	}
}

// deadEnds are the strings of a file that refuse something and name no way out.
func deadEnds(f *ast.File) []*ast.BasicLit {
	var out []*ast.BasicLit
	var near []ast.Node // from the file down to what is visited
	ast.Inspect(f, func(n ast.Node) bool {
		if n == nil {
			near = near[:len(near)-1]
			return true
		}
		near = append(near, n)
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(lit.Value)
		// A code of a protocol is no message.
		if err != nil || !refusal.MatchString(text) || strings.ToUpper(text) == text {
			return true
		}
		if !way.MatchString(statementText(near)) {
			out = append(out, lit)
		}
		return true
	})
	return out
}

// statementText are all strings of the statement that a string is in.
func statementText(near []ast.Node) string {
	var whole ast.Node
	for _, n := range near {
		switch n.(type) {
		case ast.Stmt, ast.Decl:
			if _, block := n.(*ast.BlockStmt); !block {
				whole = n
			}
		}
	}
	var b strings.Builder
	ast.Inspect(whole, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			b.WriteString(lit.Value + " ")
		}
		return true
	})
	return b.String()
}

// TestDeadEndsAreFound: the test above sees a dead end, and takes a way out for one.
func TestDeadEndsAreFound(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]int{
		`func f() { refuse("tags are not supported") }`:                                 1,
		`func f() { refuse("tags are not supported", "write the value out") }`:          0,
		`func f() { refuse("tags are not supported; write the value out") }`:            0,
		`func f() { refuse("Unsupported tag"); use("write") }`:                          1,
		`func f() { code("UNSUPPORTED") }`:                                              0,
		`var err = errors.New("no support for this kernel")`:                            1,
		`func f() { p.Message, p.Fix = "anchors are not supported", "write them out" }`: 0,
		`func f() { if x { refuse("zstd is not supported") }; name("leave it") }`:       1,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "f.go", "package f\n"+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(deadEnds(f)); got != want {
			t.Errorf("%s: %d dead ends, want %d", code, got, want)
		}
	}
}
