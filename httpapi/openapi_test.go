package httpapi

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/dunlindb/dunlin/httpapi/problem"
)

// document is what the tests look at of openapi.yaml.
type document struct {
	OpenAPI    string `yaml:"openapi"`
	Paths      map[string]map[string]any
	Components struct {
		Schemas struct {
			Problem struct {
				Properties map[string]struct{ Enum []string }
			} `yaml:"Problem"`
		}
	}
}

func loadDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := yaml.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	d := loadDocument(t)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi %s", d.OpenAPI)
	}
	documented := map[string]bool{}
	for path, methods := range d.Paths {
		for method := range methods {
			if method != "parameters" {
				documented[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	f := newAPI(t, newFakeStore(t), nil)
	for _, rt := range f.api.routes() {
		if !documented[rt.pattern] {
			t.Errorf("%s is not in openapi.yaml", rt.pattern)
		}
		delete(documented, rt.pattern)
	}
	for pattern := range documented {
		t.Errorf("openapi.yaml has %s, which is no route", pattern)
	}
}

func TestOpenAPIHasEveryProblem(t *testing.T) {
	listed := loadDocument(t).Components.Schemas.Problem.Properties["type"].Enum
	for _, kind := range problem.Kinds() {
		if !slices.Contains(listed, problem.TypePrefix+kind) {
			t.Errorf("%s is not in openapi.yaml", problem.TypePrefix+kind)
		}
	}
	if len(listed) != len(problem.Kinds()) {
		t.Errorf("openapi.yaml lists %d problems, there are %d", len(listed), len(problem.Kinds()))
	}
}

// TestOpenAPIReferences follows every $ref.
func TestOpenAPIReferences(t *testing.T) {
	var root any
	if err := yaml.Unmarshal(openAPI, &root); err != nil {
		t.Fatal(err)
	}
	found := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				found++
				at := root
				for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
					m, _ := at.(map[string]any)
					if at = m[name]; at == nil {
						t.Errorf("%s leads nowhere", ref)
						break
					}
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(root)
	if found < 50 {
		t.Errorf("only %d references found", found)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	f := start(t, newFakeStore(t), nil)
	r := f.do("GET /v1/openapi.yaml", "")
	f.want(r, 200)
	if r.body != string(openAPI) || r.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%v", r.Header)
	}
}
