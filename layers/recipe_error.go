package layers

import (
	"errors"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Problem is one thing that is wrong with a recipe, a lock or a file that a recipe names.
type Problem struct {
	File         string // its name as the caller gave it, or "--set KEY"
	Line, Column int    // from 1; 0: no place is known
	Key          string // dotted, as ray.version; "": the file as a whole
	Message      string // what is wrong
	Fix          string // what would be right
}

// String is the problem in one line: "file:line:column: key: message; fix".
func (p Problem) String() string { return strictyaml.Problem(p).String() }

// RecipeError is everything that is wrong with a recipe, a lock or a file that a recipe names.
type RecipeError struct {
	Problems []Problem // in the order of the file
}

// Error lists the problems, one a line.
func (e *RecipeError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// recipeError is an error of the reader as a *RecipeError. Another error it returns as it is.
func recipeError(err error) error {
	var found *strictyaml.Error
	if !errors.As(err, &found) {
		return err
	}
	all := &RecipeError{Problems: make([]Problem, len(found.Problems))}
	for i, p := range found.Problems {
		all.Problems[i] = Problem(p)
	}
	return all
}
