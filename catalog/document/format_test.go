package document

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestFormats: documents of an older format are read; those of a newer one are refused
// with what to do, also if they do not fit at all.
func TestFormats(t *testing.T) {
	d := loaded(t, 3, 3)
	raw, err := Encode(&d)
	if err != nil {
		t.Fatal(err)
	}
	format := func(to string) []byte { return bytes.Replace(raw, []byte(`"format":2`), []byte(`"format":`+to), 1) }
	if old, err := Decode(format("1")); err != nil || old.Version != d.Version {
		t.Errorf("format 1: %v", err)
	}
	for name, newer := range map[string][]byte{
		"a newer one":               format("3"),
		"one of another shape":      []byte(`{"format":7,"cluster":["?"],"layout":"elsewhere"}`),
		"one with what is not here": bytes.Replace(format("4"), []byte(`"version"`), []byte(`"weights":{"a":1},"version"`), 1),
	} {
		var unknown *FormatError
		if _, err := Decode(newer); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "start a newer version") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var invalid *InvalidError
	if _, err := Decode(format("0")); !errors.As(err, &invalid) {
		t.Errorf("no format: %v", err)
	}
}
