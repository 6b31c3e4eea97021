package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/bench"
	"github.com/dunlindb/dunlin/client"
)

func newBenchCommand() *cobra.Command {
	cfg := bench.DefaultConfig()
	var nodes httpFlag
	var output outputFlag
	var target benchTarget
	cmd := &cobra.Command{
		Use:   "bench write|read|mixed",
		Short: "Generate load and measure throughput and latency",
		Long: `Generate load and measure what clients see. With --rate the load is open:
latency counts from the moment an operation was due, so that stalls are charged to
everything that they held up. Without it every client sends as soon as it has its
answer, and the same correction is applied to the distribution. Errors are counted
by kind; nothing is retried, unless --attempts allows more than one.`,
		Example: `  dunlin bench write --batch 100 --duration 10s
  dunlin bench mixed --rate 2000 --clients 32 --http http://127.0.0.1:7480,http://127.0.0.2:7480`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"write", "read", "mixed"},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.Mode = bench.Mode(args[0])
			if err := cfg.Validate(); err != nil {
				return &usageError{err}
			}
			if err := target.connect(nodes.nodes, cfg.Clients); err != nil {
				return &usageError{err}
			}
			result, err := bench.Run(cmd.Context(), cfg, &target, benchProgress(cfg.Duration))
			if err != nil {
				return err
			}
			if output.json() {
				return printJSON(cmd.OutOrStdout(), result)
			}
			return result.Print(cmd.OutOrStdout())
		},
	}
	nodes.add(cmd)
	output.add(cmd, "table", "json")
	levelFlag(cmd, "w", &target.w)
	levelFlag(cmd, "r", &target.r)
	f := cmd.Flags()
	f.IntVar(&cfg.Clients, "clients", cfg.Clients, "concurrent clients, each with one request in flight")
	f.IntVar(&cfg.Batch, "batch", cfg.Batch, "events a write request")
	f.DurationVar(&cfg.Duration, "duration", cfg.Duration, "length of the run")
	f.Float64Var(&cfg.Rate, "rate", cfg.Rate, "operations per second over all clients; 0: as fast as answers come")
	f.IntVar(&cfg.ValueSize, "value-size", cfg.ValueSize, "bytes of an event's data")
	f.IntVar(&cfg.Streams, "streams", cfg.Streams, "events are spread over so many streams")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "seed of the streams and data")
	f.IntVar(&target.attempts, "attempts", 1, "tries of a request, each at another of the nodes: 1 shows every failure, more are what applications do")
	return cmd
}

// benchTarget drives nodes over HTTP.
type benchTarget struct {
	client   *client.Client
	w, r     string
	attempts int
}

func (t *benchTarget) connect(nodes string, clients int) error {
	random, err := newRandom()
	if err != nil {
		return err
	}
	cfg := client.DefaultConfig()
	cfg.Nodes, cfg.Rand, cfg.Attempts = strings.Split(nodes, ","), random, t.attempts
	cfg.HTTP = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}}
	t.client, err = client.New(cfg)
	return err
}

// Append writes one batch.
func (t *benchTarget) Append(ctx context.Context, stream string, data [][]byte) (int, error) {
	if len(data) == 1 {
		_, err := t.client.Append(ctx, stream, client.Event{Data: data[0]}, t.w)
		if err != nil {
			return 0, err
		}
		return 1, nil
	}
	events := make([]client.Event, len(data))
	for i, d := range data {
		events[i] = client.Event{Stream: stream, Data: d}
	}
	return t.client.AppendBatch(ctx, events, t.w)
}

// Read reads the newest events of a stream.
func (t *benchTarget) Read(ctx context.Context, stream string, limit int) (int, error) {
	page, err := t.client.Page(ctx, stream, client.ReadOptions{Desc: true, Level: t.r}, limit, "")
	return len(page.Events), err
}

// Kind names an error's kind.
func (t *benchTarget) Kind(err error) string { return client.Kind(err) }

// benchProgress draws a bar when somebody is looking.
func benchProgress(total time.Duration) bench.Progress {
	if !interactive() {
		return nil
	}
	bar := progressbar.NewOptions64(int64(total/time.Millisecond), progressbar.OptionSetWriter(os.Stderr), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	return func(elapsed time.Duration, operations int64) {
		bar.Describe(fmt.Sprintf("%d operations", operations))
		_ = bar.Set64(int64(min(elapsed, total) / time.Millisecond)) // a bar that cannot be drawn changes nothing
	}
}
