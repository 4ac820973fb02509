// Package quiet keeps a log readable while the same thing happens again and
// again: it says when to tell of it once more.
package quiet
