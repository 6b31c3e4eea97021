// Package quorum counts: how many replicas a level asks for, what is known of a
// quorum after each answer, and the exact error when it is not reached. It is
// pure; package coordinator gives its types their public names.
package quorum
