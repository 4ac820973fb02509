package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := app().RunContext(ctx, os.Args); err != nil {
		// One line, whatever the libraries below have to say.
		fmt.Fprintln(os.Stderr, "crdtd:", strings.Join(strings.Fields(err.Error()+advice(err)), " "))
		stop()
		os.Exit(exitCode(err))
	}
}

func run(c *cli.Context) error {
	config, err := configOf(c)
	if err == nil {
		err = required(config)
	}
	if err != nil {
		return err
	}
	log, level, err := logOf(c)
	if err != nil {
		return err
	}
	config.LogLevel = level
	member, err := server.Start(c.Context, config, log)
	if errors.Is(err, context.Canceled) {
		return nil // told to stop before it had started
	}
	if err != nil {
		return err
	}
	a := member.Addresses()
	log.Info("serving", "member", member.Config().Name, "region", config.Region, "version", server.Version,
		"client", a.Client, "route", a.Cluster, "gateway", a.Gateway, "http", member.HTTP())
	<-c.Context.Done()
	log.Info("stopping")
	return member.Close()
}

// logOf returns the log that the flags ask for, and its level, which may be
// changed.
func logOf(c *cli.Context) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	first, err := server.ParseLevel(c.String("log-level"))
	if err != nil {
		return nil, nil, err
	}
	level.Set(first)
	options := &slog.HandlerOptions{Level: level}
	switch format := c.String("log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level, nil
	default:
		return nil, nil, fmt.Errorf("%w: log format %q; it is text or json", server.ErrConfig, format)
	}
}
