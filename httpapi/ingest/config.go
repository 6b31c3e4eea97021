package ingest

import (
	"errors"
	"fmt"
	"time"
)

// Config bounds bulk ingest.
type Config struct {
	Requests     int           // bulk requests in flight, each with two chunks
	ChunkBytes   int           // read from a body at a time
	BatchLines   int           // lines of a batch
	BatchBytes   int           // bytes of a batch, unless one line is larger
	Linger       time.Duration // wait for more input before a batch is sent that is not full
	Pipeline     int           // batches of one request being filled, written or answered
	Batches      int           // the same of all requests
	Errors       int           // errors listed in a summary
	ReportLines  int           // lines between two reports of progress
	ReportPeriod time.Duration // time between two reports of progress
	// AnswerTimeout is how long a client may leave its answers unread.
	AnswerTimeout time.Duration
	// DropTimeout is how long a body is read past after an answer that came before
	// its end.
	DropTimeout time.Duration
}

// DefaultConfig returns bounds that fit a node with default memory.
func DefaultConfig() Config {
	return Config{
		Requests:      512,
		ChunkBytes:    32 << 10,
		BatchLines:    512,
		BatchBytes:    128 << 10,
		Linger:        time.Millisecond,
		Pipeline:      4,
		Batches:       128,
		Errors:        100,
		ReportLines:   1000,
		ReportPeriod:  time.Second,
		AnswerTimeout: 10 * time.Second,
		DropTimeout:   3 * time.Second,
	}
}

// Validate reports every bound that makes no sense.
func (c Config) Validate() error {
	var errs []error
	count := func(name string, value, most int) {
		if value < 1 || value > most {
			errs = append(errs, fmt.Errorf("ingest: %s is %d: give 1 to %d", name, value, most))
		}
	}
	length := func(name string, value time.Duration) {
		if value <= 0 || value > time.Hour {
			errs = append(errs, fmt.Errorf("ingest: %s is %s: give more than 0 and at most 1h", name, value))
		}
	}
	count("Requests", c.Requests, 1<<20)
	count("ChunkBytes", c.ChunkBytes, 64<<20)
	count("BatchLines", c.BatchLines, 1<<16)
	count("BatchBytes", c.BatchBytes, 64<<20)
	count("Pipeline", c.Pipeline, 1<<10)
	count("Batches", c.Batches, 1<<16)
	count("Errors", c.Errors, 1<<16)
	count("ReportLines", c.ReportLines, 1<<20)
	length("Linger", c.Linger)
	length("ReportPeriod", c.ReportPeriod)
	length("AnswerTimeout", c.AnswerTimeout)
	length("DropTimeout", c.DropTimeout)
	return errors.Join(errs...)
}
