package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/demo"
	"github.com/atolldb/atoll/internal/transfer"
)

// The exit codes, as --help lists them.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitNotConverged = 3
	exitUnreachable  = 4
	exitNo           = 5
	exitUnknown      = 6
	exitNotEnough    = 7
)

// verdict is an answer that has been printed and decides the exit code.
type verdict int

func (v verdict) Error() string { return fmt.Sprintf("exit code %d", int(v)) }

// errUsage says that the command line is wrong.
var errUsage = errors.New("usage")

// usageError is errUsage in other words.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// outcomes says how errors end the program and what to do about them. The
// first that matches counts.
var outcomes = [...]struct {
	err    error
	code   int
	advice string
}{
	{errUsage, exitUsage, ""},
	{demo.ErrOptions, exitUsage, ""},
	{client.ErrInvalid, exitUsage, ""},
	{transfer.ErrBad, exitUsage, ""},
	{client.ErrForbidden, exitUsage, ""},
	{client.ErrUnreachable, exitUnreachable, ""},
	{client.ErrNotFound, exitNo, ""},
	{client.ErrOutcomeUnknown, exitUnknown, "a write may have been done or not, so look before you repeat it; --timeout waits longer"},
	{client.ErrUnavailable, exitUnknown, "a write may have been done or not; the log of the member says more"},
	{client.ErrNotEnough, exitNotEnough, ""},
	{client.ErrNotRemembered, exitUnknown, "look before you count it under another id"},
	{client.ErrBehind, exitFailure, "nothing was changed; try again, or without --session"},
	{client.ErrProtocol, exitFailure, ""},
	{client.ErrBusy, exitFailure, "nothing was changed, try again"},
	{client.ErrNoSpace, exitFailure, "nothing was changed; free some space on that disk, and it goes on by itself"},
	{client.ErrOverflow, exitUsage, "nothing was changed"},
}

// readError is what became of a command that changes nothing, or of the part of
// one that only watches what goes on without it.
type readError struct {
	error
	goesOn string // in words; "" if nothing does
}

func (e readError) Unwrap() error { return e.error }

// advised is an error that says itself what to do about it.
type advised struct{ error }

func (e advised) Unwrap() error { return e.error }

// isUnknown says of an error that what was asked for may have been done.
func isUnknown(err error) bool {
	return errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrUnavailable) || errors.Is(err, context.Canceled)
}

// reading marks a command as one that changes nothing, so that nobody is told
// that something may have been.
func reading(do cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := do(c)
		if err == nil || errors.As(err, new(readError)) { // which may say what goes on
			return err
		}
		return readError{error: err}
	}
}

// report says in one line what went wrong, and what to do, and returns the
// exit code.
func report(stderr io.Writer, err error) int {
	var v verdict
	var read readError
	reads := errors.As(err, &read)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &v):
		return int(v)
	case errors.Is(err, context.Canceled) && reads:
		text := "crdtctl: interrupted"
		if read.goesOn != "" {
			text += "; " + read.goesOn
		}
		fmt.Fprintln(stderr, text)
		return exitFailure
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "crdtctl: interrupted; a write may have been done or not")
		return exitUnknown
	}
	code, text := exitFailure, err.Error()
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			code = o.code
			if code == exitUnknown && reads {
				code, o.advice = exitFailure, "nothing was changed; the log of the member says more"
			}
			if o.advice != "" && !errors.As(err, new(advised)) {
				text += "; " + o.advice
			}
			break
		}
	}
	// One line, whatever the libraries below have to say.
	fmt.Fprintln(stderr, "crdtctl:", strings.Join(strings.Fields(text), " "))
	return code
}
