package httpapi

import (
	"errors"
	"fmt"
	"time"
)

// Config holds the front door's bounds.
type Config struct {
	// Hosts are the names and addresses, without ports, that requests may be
	// addressed to, beside localhost. An unspecified address (0.0.0.0, ::) among
	// them stands for every address.
	Hosts []string
	// Origins are the web origins, "https://host[:port]", whose pages may write;
	// by default only pages that this node itself served may.
	Origins []string

	EventBytes int // the JSON of one event
	ValueBytes int // one value
	KeyBytes   int // a stream's name, a bucket, a key
	// MaxFuture is how far ahead an event's own time may lie.
	MaxFuture time.Duration
	// WriteTimeout is the coordinator's: how long a batch of bulk lines may take.
	// TimeoutMax bounds the timeout that a request may ask for.
	WriteTimeout, TimeoutMax time.Duration

	Requests int // requests in flight, of which a whole bulk body is one
	Bulk     Bulk

	// AnswerTimeout is how long a client may leave a piece of its answer unread.
	AnswerTimeout time.Duration
	// HeaderTimeout bounds the time to send a request's header, BodyTimeout that
	// of a body that is not bulk, IdleTimeout the pause between two requests.
	HeaderTimeout, BodyTimeout, IdleTimeout time.Duration
	// StopTimeout bounds the wait for requests in flight when Run is stopped.
	StopTimeout time.Duration
}

// Bulk bounds bulk ingest. Lines are written in batches, several of which are on
// their way at a time.
type Bulk struct {
	ChunkBytes   int           // read from a body at a time
	BatchLines   int           // lines of a batch
	BatchBytes   int           // bytes of a batch, unless one line is larger
	Linger       time.Duration // wait for more input before a batch is sent that is not full
	Pipeline     int           // batches of one request being filled, written or answered
	Batches      int           // the same of all requests
	Errors       int           // errors listed in a summary
	ReportLines  int           // lines between two reports of progress
	ReportPeriod time.Duration // time between two reports of progress
}

// DefaultConfig returns bounds that fit a node with default memory. Hosts is for
// the caller to fill in.
func DefaultConfig() Config {
	return Config{
		EventBytes:   1 << 20,
		ValueBytes:   1 << 20,
		KeyBytes:     1 << 10,
		MaxFuture:    time.Hour,
		WriteTimeout: 5 * time.Second,
		TimeoutMax:   10 * time.Minute,
		Requests:     4096,
		Bulk: Bulk{
			ChunkBytes: 64 << 10, BatchLines: 512, BatchBytes: 128 << 10,
			Linger: time.Millisecond, Pipeline: 4, Batches: 128,
			Errors: 100, ReportLines: 1000, ReportPeriod: time.Second,
		},
		AnswerTimeout: 10 * time.Second,
		HeaderTimeout: 10 * time.Second,
		BodyTimeout:   time.Minute,
		IdleTimeout:   2 * time.Minute,
		StopTimeout:   15 * time.Second,
	}
}

// keyBytesMax is the longest key of which two fit a partition key.
const keyBytesMax = 32 << 10

// Validate reports every bound that makes no sense.
func (c Config) Validate() error {
	var errs []error
	count := func(name string, value, most int) {
		if value < 1 || value > most {
			errs = append(errs, fmt.Errorf("httpapi: %s is %d: give 1 to %d", name, value, most))
		}
	}
	length := func(name string, value time.Duration) {
		if value <= 0 || value > 24*time.Hour {
			errs = append(errs, fmt.Errorf("httpapi: %s is %s: give more than 0 and at most 24h", name, value))
		}
	}
	const bytesMax = 64 << 20
	count("EventBytes", c.EventBytes, bytesMax)
	count("ValueBytes", c.ValueBytes, bytesMax)
	count("KeyBytes", c.KeyBytes, keyBytesMax-16)
	count("Requests", c.Requests, 1<<20)
	count("Bulk.ChunkBytes", c.Bulk.ChunkBytes, bytesMax)
	count("Bulk.BatchLines", c.Bulk.BatchLines, 1<<16)
	count("Bulk.BatchBytes", c.Bulk.BatchBytes, bytesMax)
	count("Bulk.Pipeline", c.Bulk.Pipeline, 1<<10)
	count("Bulk.Batches", c.Bulk.Batches, 1<<16)
	count("Bulk.Errors", c.Bulk.Errors, 1<<16)
	count("Bulk.ReportLines", c.Bulk.ReportLines, 1<<20)
	length("WriteTimeout", c.WriteTimeout)
	length("TimeoutMax", c.TimeoutMax)
	length("Bulk.Linger", c.Bulk.Linger)
	length("Bulk.ReportPeriod", c.Bulk.ReportPeriod)
	length("AnswerTimeout", c.AnswerTimeout)
	length("HeaderTimeout", c.HeaderTimeout)
	length("BodyTimeout", c.BodyTimeout)
	length("IdleTimeout", c.IdleTimeout)
	length("StopTimeout", c.StopTimeout)
	if c.MaxFuture < 0 {
		errs = append(errs, fmt.Errorf("httpapi: MaxFuture is %s: give 0 or more", c.MaxFuture))
	}
	if len(c.Hosts) == 0 {
		errs = append(errs, errors.New("httpapi: Hosts is empty: name at least the address that is listened on"))
	}
	return errors.Join(errs...)
}
