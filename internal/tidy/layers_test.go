package tidy

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// layerOf is the table of layers: a package imports only packages of lower
// layers and its own children. A child that is not listed belongs to its parent,
// and is imported by its family alone. testLayer packages are imported by tests only.
var layerOf = map[string]int{
	"token": 0, "hlc": 0,
	"event": 1, "record": 1, "ring": 1, "paxos": 1,
	"schema": 2, "storage": 2, "client": 2, "membership": 2, "transport": 2,
	"catalog": 3, "replica": 3, "coordinator": 3, "hinted": 3, "antientropy": 3, "mend": 3, "rebalance": 3,
	"httpapi": 4, "cql": 4, "cql/wire": 4, "cql/parse": 4, "admin": 4,
	"node": 5, "bench": 5,
	"config":     6,
	"cmd/dunlin": 7,

	"internal/sim":  testLayer,
	"internal/e2e":  testLayer,
	"internal/tidy": testLayer,
}

const testLayer = 8

// libraryOf says which packages may use which third-party library, by import
// path prefix. An empty list means any package.
var libraryOf = map[string][]string{
	"github.com/buraksezer/consistent":        {"ring"},
	"github.com/cockroachdb/pebble/v2":        {"storage"},
	"github.com/cockroachdb/pebble/v2/vfs":    {"storage", "internal/sim"},
	"github.com/hashicorp/memberlist":         {"membership"},
	"google.golang.org/grpc":                  {"transport"},
	"github.com/spf13/viper":                  {"config"},
	"github.com/spf13/cobra":                  {"cmd/dunlin"},
	"github.com/spf13/pflag":                  {"config", "cmd/dunlin"},
	"github.com/klauspost/compress":           {"httpapi", "cql", "client"},
	"github.com/HdrHistogram/hdrhistogram-go": {"bench"},
	"github.com/schollz/progressbar/v3":       {"cmd/dunlin"},
	"golang.org/x/term":                       {"cmd/dunlin"},
	"golang.org/x/sync":                       {},
	"github.com/google/uuid":                  {},
	"github.com/prometheus/client_golang":     {},
}

// testOnly lists the libraries that only tests and the test layer may use.
var testOnly = []string{
	"github.com/cockroachdb/datadriven",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
	"testing",
}

// family is the listed package that a package is or belongs to.
func family(pkg string) (name string, known bool) {
	for name = pkg; name != "."; name = path.Dir(name) {
		if _, known := layerOf[name]; known {
			return name, true
		}
	}
	return "", false
}

func TestPackagesImportOnlyLowerLayers(t *testing.T) {
	for _, f := range sources(t) {
		own, known := family(f.pkg)
		if !known {
			t.Errorf("%s: package %q is not in the table of layers; add it there (and to docs/ARCHITECTURE.md)", f.path, f.pkg)
			continue
		}
		for _, imported := range f.imports() {
			other, inModule := strings.CutPrefix(imported, module+"/")
			if !inModule || f.test {
				continue
			}
			switch parent, ok := family(other); {
			case !ok:
				t.Errorf("%s: imports %s, which is not in the table of layers", f.path, other)
			case parent == own:
			case parent != other:
				t.Errorf("%s: imports %s, which is %s's own", f.path, other, parent)
			case layerOf[parent] >= layerOf[own]:
				t.Errorf("%s: package %s (layer %d) imports %s (layer %d)", f.path, f.pkg, layerOf[own], other, layerOf[parent])
			}
		}
	}
}

func TestLibrariesHaveOneUser(t *testing.T) {
	for _, f := range sources(t) {
		for _, path := range f.imports() {
			checkLibrary(t, f, path)
		}
	}
}

func checkLibrary(t *testing.T, f sourceFile, imported string) {
	t.Helper()
	own, _ := family(f.pkg)
	inTests := f.test || layerOf[own] == testLayer
	for _, lib := range testOnly {
		if (imported == lib || strings.HasPrefix(imported, lib+"/")) && !inTests {
			t.Errorf("%s: imports %s, which is for tests", f.path, imported)
		}
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") || strings.HasPrefix(imported, module) || inTests {
		return
	}
	users, known := users(imported)
	if !known {
		t.Errorf("%s: %s is not in the table of libraries", f.path, imported)
		return
	}
	if len(users) > 0 && !slices.Contains(users, own) {
		t.Errorf("%s: %s may be used only by %v", f.path, imported, users)
	}
}

// users finds the longest library prefix of an import path.
func users(imported string) ([]string, bool) {
	best, found := "", false
	for lib := range libraryOf {
		if (imported == lib || strings.HasPrefix(imported, lib+"/")) && len(lib) > len(best) {
			best, found = lib, true
		}
	}
	return libraryOf[best], found
}

// TestPureLayersAreDeterministic keeps clocks, randomness and I/O out of the
// packages whose functions must give the same answer everywhere.
func TestPureLayersAreDeterministic(t *testing.T) {
	pure := []string{"token", "record", "ring", "paxos"}
	banned := []string{"context", "net", "net/http", "os", "io/fs", "sync/atomic", "log/slog", "math/rand"}
	for _, f := range sources(t) {
		if f.test || !slices.Contains(pure, f.pkg) {
			continue
		}
		for _, path := range f.imports() {
			if slices.Contains(banned, path) {
				t.Errorf("%s: pure package %s imports %s", f.path, f.pkg, path)
			}
		}
	}
}
