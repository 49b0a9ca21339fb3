package cluster

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Grammars are compiled when they are first used, so one that is none would end the call in which it is.
func TestGrammarsCompile(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			text, ok := grammarText(n)
			if !ok {
				return true
			}
			found++
			if _, err := regexp.Compile(text); err != nil {
				t.Errorf("a grammar in %s does not compile: %v", f.Name(), err)
			}
			return true
		})
	}
	if found < 10 {
		t.Errorf("only %d grammars were found: this test looks for calls of newGrammar with a string", found)
	}
}

// grammarText is what a call of newGrammar is given.
func grammarText(n ast.Node) (string, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 {
		return "", false
	}
	name, ok := call.Fun.(*ast.Ident)
	if !ok || name.Name != "newGrammar" {
		return "", false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}
