// Package slot is the table of requests that a peer has not answered: a bounded
// set of slots with their deadlines, in the order in which they were opened.
//
// A slot is freed by its answer, or all are when the connection ends; a deadline
// only makes it overdue. So a peer that hangs fills its table, after which
// requests fail at once, and an answer can never reach another request: the id
// that travels carries the slot's generation. The table is a plain value without
// locks or goroutines; its owner's mutex guards it. All operations take constant
// time, except Expire after a deadline and Clear.
package slot
