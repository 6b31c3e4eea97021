package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write dunlin.example.yaml from the code")

const examplePath = "../dunlin.example.yaml"

func load(t *testing.T, file string, environ []string, args ...string) (Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	if file != "" {
		path := filepath.Join(t.TempDir(), "dunlin.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, environ)
}

func TestExampleIsTheCode(t *testing.T) {
	if *update {
		if err := os.WriteFile(examplePath, []byte(Example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Example() {
		t.Errorf("dunlin.example.yaml differs from the code; run: go test ./config -run TestExample -update")
	}
	c, err := load(t, string(got), nil)
	if err != nil {
		t.Fatalf("the example does not load: %v", err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("the example is not the defaults:\n got %+v\nwant %+v", c, Default())
	}
}

func TestPrecedence(t *testing.T) {
	file := "clock:\n  max_skew: 1s\ntimeouts:\n  read: 1s\n  write: 1s\n"
	env := []string{"DUNLIN_TIMEOUTS_READ=2s", "DUNLIN_TIMEOUTS_WRITE=2s", "HOME=/"}
	c, err := load(t, file, env, "--timeouts-write", "3s")
	if err != nil {
		t.Fatal(err)
	}
	if c.Node.Clock.MaxSkew != time.Second || c.Node.Timeouts.Read != 2*time.Second || c.Node.Timeouts.Write != 3*time.Second {
		t.Errorf("file, environment, flag: got %s, %s, %s", c.Node.Clock.MaxSkew, c.Node.Timeouts.Read, c.Node.Timeouts.Write)
	}
}

func TestKinds(t *testing.T) {
	if _, err := load(t, "clock:\n  # max_skew: 5s\n", nil); err != nil {
		t.Errorf("a group without settings: %v", err)
	}
	c, err := load(t, "join: [10.0.0.1, \"10.0.0.2:7481\"]\nmemory:\n  budget: 1GiB\ninsecure: true\n", nil, "--limits-event-bytes", "64KiB")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Node.Join, " "); got != "10.0.0.1 10.0.0.2:7481" {
		t.Errorf("join: %q", got)
	}
	if c.Node.Storage.MemoryBudget != 1<<30 || c.Node.Limits.EventBytes != 64<<10 || !c.Node.Insecure {
		t.Errorf("budget %d, event bytes %d, insecure %v", c.Node.Storage.MemoryBudget, c.Node.Limits.EventBytes, c.Node.Insecure)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name string
		file string
		env  []string
		args []string
		want []string
	}{
		{name: "unknown key", file: "clock:\n  max_skwe: 1s\n", want: []string{"unknown clock.max_skwe", "dunlin.example.yaml"}},
		{name: "unknown variable", env: []string{"DUNLIN_ZOEN=a"}, want: []string{"DUNLIN_ZOEN"}},
		{name: "not YAML", file: "a: [", want: []string{"read", "yaml"}},
		{name: "duration", args: []string{"--clock-max-skew", "five"}, want: []string{"clock.max_skew (flag --clock-max-skew)", "500ms"}},
		{name: "number", env: []string{"DUNLIN_REPLICATION_FACTOR=many"}, want: []string{"replication_factor (environment DUNLIN_REPLICATION_FACTOR)"}},
		{name: "bytes", args: []string{"--memory-budget", "lots"}, want: []string{"memory.budget", "1MiB"}},
		{name: "bool", file: "insecure: perhaps\n", want: []string{"insecure", "true or false"}},
		{name: "list for text", file: "zone: [a, b]\n", want: []string{"zone", "one value"}},
		{name: "group for value", file: "zone:\n  a: b\n", want: []string{"zone.a"}},
		{name: "range", args: []string{"--listen-http-port", "70000"}, want: []string{"listen.http_port", "65535"}},
		{name: "same port twice", args: []string{"--listen-http-port", "7483"}, want: []string{"7483", "already"}},
		{name: "both ways in", args: []string{"--bootstrap", "--join", "a"}, want: []string{"bootstrap", "not both"}},
		{name: "not loopback", args: []string{"--listen-host", "0.0.0.0"}, want: []string{"--insecure"}},
		{name: "advertise any", args: []string{"--listen-host", "0.0.0.0", "--insecure"}, want: []string{"advertise.host"}},
		{name: "durability", args: []string{"--storage-durability", "maybe"}, want: []string{"storage.durability", "periodic"}},
		{name: "level", args: []string{"--log-level", "loud"}, want: []string{"log.level"}},
		{name: "format", args: []string{"--log-format", "xml"}, want: []string{"log.format"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load(t, tc.file, tc.env, tc.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}
