package tidy

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	functionLinesMax    = 70
	fileLinesMax        = 500
	packageLinesMax     = 2500
	interfaceMethodsMax = 5
	packageDocLinesMin  = 5
)

func TestSizes(t *testing.T) {
	perPackage := map[string]int{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		perPackage[f.pkg] += f.lines()
		if n := f.lines(); n > fileLinesMax {
			t.Errorf("%s: %d lines, at most %d", f.path, n, fileLinesMax)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			first, last := f.fset.Position(fn.Pos()).Line, f.fset.Position(fn.End()).Line
			if n := last - first + 1; n > functionLinesMax {
				t.Errorf("%s: %s has %d lines, at most %d", f.at(fn.Pos()), fn.Name.Name, n, functionLinesMax)
			}
		}
	}
	for pkg, n := range perPackage {
		if n > packageLinesMax {
			t.Errorf("package %s: %d lines, at most %d", pkg, n, packageLinesMax)
		}
	}
}

func TestInterfacesAreSmall(t *testing.T) {
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			iface, ok := spec.Type.(*ast.InterfaceType)
			if !ok || (f.pkg == "transport" && spec.Name.Name == "Handler") {
				return true // the handler is the wire protocol
			}
			if got := len(iface.Methods.List); got > interfaceMethodsMax {
				t.Errorf("%s: interface %s has %d methods, at most %d", f.at(spec.Pos()), spec.Name.Name, got, interfaceMethodsMax)
			}
			return true
		})
	}
}

func TestNoInitNoJunkDrawers(t *testing.T) {
	banned := map[string]bool{
		"common": true, "util": true, "utils": true, "types": true, "helpers": true, "misc": true,
		"base": true, "metrics": true, "errors": true, "log": true,
	}
	for _, f := range sources(t) {
		if banned[path.Base(f.pkg)] {
			t.Errorf("%s: a package named %s collects everything and says nothing", f.path, f.pkg)
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init() hides work; pass values instead", f.at(fn.Pos()))
			}
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	docLines := map[string]int{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		docLines[f.pkg] += 0
		if f.ast.Doc != nil {
			docLines[f.pkg] = max(docLines[f.pkg], strings.Count(f.ast.Doc.Text(), "\n"))
		}
	}
	for pkg, n := range docLines {
		if n < packageDocLinesMin {
			t.Errorf("package %s: its comment has %d lines; say purpose, invariants and who owns its goroutines in at least %d", pkg, n, packageDocLinesMin)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && receiverExported(d) && !isErrorMethod(d) {
					t.Errorf("%s: exported %s has no comment", f.at(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkSpecs(t, f, d)
			}
		}
	}
}

func checkSpecs(t *testing.T, f sourceFile, d *ast.GenDecl) {
	t.Helper()
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
				t.Errorf("%s: exported type %s has no comment", f.at(s.Pos()), s.Name.Name)
			}
		case *ast.ValueSpec:
			if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				t.Errorf("%s: exported %s has no comment", f.at(s.Pos()), s.Names[0].Name)
			}
		}
	}
}

// isErrorMethod reports the methods of errors, which say what they say.
func isErrorMethod(d *ast.FuncDecl) bool {
	return d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "Unwrap")
}

// receiverExported reports whether a method belongs to an exported type; a
// method of an unexported type is documented by the interface it satisfies.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// forbiddenCalls are package-level functions that reach global state, with
// what to use instead.
var forbiddenCalls = map[string]string{
	"prometheus.MustRegister":      "the Registerer that was passed in",
	"prometheus.DefaultRegisterer": "the Registerer that was passed in",
	"prometheus.DefaultGatherer":   "the Gatherer that was passed in",
	"slog.Default":                 "the logger that was passed in",
	"slog.Info":                    "the logger that was passed in",
	"slog.Warn":                    "the logger that was passed in",
	"slog.Error":                   "the logger that was passed in",
	"log.Printf":                   "the logger that was passed in",
	"log.Fatalf":                   "an error; only main exits",
	"promauto.NewCounter":          "promauto.With(registerer)",
	"promauto.NewHistogram":        "promauto.With(registerer)",
	"promauto.NewGauge":            "promauto.With(registerer)",
	"rand.IntN":                    "the *rand.Rand that was passed in",
	"rand.Int64N":                  "the *rand.Rand that was passed in",
	"rand.Float64":                 "the *rand.Rand that was passed in",
	"rand.Perm":                    "the *rand.Rand that was passed in",
	"rand.Shuffle":                 "the *rand.Rand that was passed in",
}

func TestNoGlobals(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		imported := map[string]bool{}
		for _, p := range f.imports() {
			imported[path.Base(strings.TrimSuffix(p, "/v2"))] = true
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := sel.X.(*ast.Ident)
			if !ok || id.Obj != nil || !imported[id.Name] {
				return true
			}
			if instead, bad := forbiddenCalls[id.Name+"."+sel.Sel.Name]; bad {
				t.Errorf("%s: %s.%s is global; use %s", f.at(sel.Pos()), id.Name, sel.Sel.Name, instead)
			}
			return true
		})
	}
}

// TestNoSleepsInTests allows time.Sleep only in packages whose tests run in
// virtual time.
func TestNoSleepsInTests(t *testing.T) {
	files := sources(t)
	virtual := map[string]bool{}
	for _, f := range files {
		virtual[f.pkg] = virtual[f.pkg] || slices.Contains(f.imports(), "testing/synctest")
	}
	for _, f := range files {
		if !f.test || virtual[f.pkg] {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == "time" {
					t.Errorf("%s: time.Sleep in a test; wait for the thing itself, or use testing/synctest", f.at(sel.Pos()))
				}
			}
			return true
		})
	}
}

// TestNoUnfinishedMarks keeps promises out of the code: a thing is done, or it
// is an issue.
func TestNoUnfinishedMarks(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
	for _, f := range sources(t) {
		for _, group := range f.ast.Comments {
			for _, mark := range marks {
				if strings.Contains(group.Text(), mark) {
					t.Errorf("%s: unfinished mark %s", f.at(group.Pos()), mark)
				}
			}
		}
	}
}

// TestMutexesSayWhatTheyGuard: a struct field that is a mutex carries a
// comment, on its line, above it, or stands in a group named mu.
func TestMutexesSayWhatTheyGuard(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				sel, ok := field.Type.(*ast.SelectorExpr)
				if !ok || (sel.Sel.Name != "Mutex" && sel.Sel.Name != "RWMutex") {
					continue
				}
				if field.Doc == nil && field.Comment == nil && len(field.Names) > 0 {
					t.Errorf("%s: mutex %s does not say what it guards", f.at(field.Pos()), field.Names[0].Name)
				}
			}
			return true
		})
	}
}
