// Package httpapi is the HTTP front door: events by stream, keys and values, and
// bulk ingest of NDJSON, in JSON over HTTP/1.1 and HTTP/2 without TLS.
//
// An event is one row of dunlin.events, a value one row of dunlin.kv; this package
// makes those rows and reads them back, and the coordinator does the rest. The
// contract is openapi.yaml, which every node serves and a test keeps equal to the
// routes.
//
// Invariants:
//   - A write is answered only when its level is reached. Every answer carries
//     Dunlin-Clock, and every error is application/problem+json, made in one place.
//   - No web page can write to a node that runs on its reader's machine: unknown
//     Hosts, foreign Origins and Content-Types that need no preflight are refused.
//   - Nothing that is not understood is ignored: unknown parameters, fields and
//     conditions are refused by name.
//   - Bulk ingest takes constant memory however long its body is: a few chunks of
//     it, and a bounded number of batches on their way. What cannot be stored fast
//     enough is not read.
//
// Goroutines: net/http's, one a connection. A bulk request has two more, which
// read its body and write its answers, and one for each batch on its way; it ends
// after all of them. Run owns the server and waits for its requests.
package httpapi
