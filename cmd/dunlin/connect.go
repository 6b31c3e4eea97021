package main

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dunlindb/dunlin/client"
)

// httpFlag is --http: which nodes a command talks to.
type httpFlag struct{ nodes string }

func (h *httpFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.nodes, "http", fmt.Sprintf("http://127.0.0.1:%d", defaultHTTPPort), "nodes to talk to: URLs, comma separated; the next one is tried when one fails")
}

func (h *httpFlag) client() (*client.Client, error) {
	random, err := newRandom()
	if err != nil {
		return nil, err
	}
	cfg := client.DefaultConfig()
	cfg.Nodes, cfg.Rand = strings.Split(h.nodes, ","), random
	return client.New(cfg)
}

// newRandom is a source of randomness of its own for each run.
func newRandom() (*rand.Rand, error) {
	var seed [16]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("draw a seed: %w", err)
	}
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:]))), nil
}

// adminFlag is --admin: whose admin port a command talks to.
type adminFlag struct{ url string }

func (a *adminFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.url, "admin", fmt.Sprintf("http://127.0.0.1:%d", defaultAdminPort), "admin port of any node")
}

func (a *adminFlag) client() (*client.Admin, error) { return client.NewAdmin(a.url) }

// levelFlag adds --w or --r.
func levelFlag(cmd *cobra.Command, name string, into *string) {
	what := map[string]string{"w": "replicas that must acknowledge the write", "r": "replicas that must answer the read"}[name]
	levels := []string{"one", "two", "three", "quorum", "all"}
	if name == "w" {
		levels = append([]string{"any"}, levels...)
	}
	cmd.Flags().StringVar(into, name, "quorum", what+": "+strings.Join(levels, ", ")+" or a number")
	// The only error is a flag that does not exist, and it was just added.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(levels, cobra.ShellCompDirectiveNoFileComp))
}

// interactive reports whether standard error is a terminal, where progress may
// be drawn.
func interactive() bool { return term.IsTerminal(int(os.Stderr.Fd())) }
