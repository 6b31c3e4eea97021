package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// module is this module's import path.
const module = "github.com/dunlindb/dunlin"

// sourceFile is one parsed Go file of the repository.
type sourceFile struct {
	path string // relative to the repository, slashes
	pkg  string // directory, relative; "." for the root
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// lines returns the number of lines of the file.
func (f sourceFile) lines() int {
	return f.fset.Position(f.ast.FileEnd).Line
}

// at formats a position inside the file for a failure message.
func (f sourceFile) at(p token.Pos) string {
	pos := f.fset.Position(p)
	return f.path + ":" + itoa(pos.Line)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// imports returns the import paths of the file.
func (f sourceFile) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`))
	}
	return paths
}

// sources parses every Go file of the repository except generated ones.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []sourceFile
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".pb.go") {
			return nil
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		files = append(files, sourceFile{
			path: rel,
			pkg:  filepath.ToSlash(filepath.Dir(rel)),
			test: strings.HasSuffix(name, "_test.go"),
			ast:  parsed,
			fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatalf("reading the source: %v", err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d Go files: is the test run inside the repository?", len(files))
	}
	return files
}
