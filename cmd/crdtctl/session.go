package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atolldb/atoll/client"
)

// inSession has do use a session that is kept in a file, which is made if it
// is not there, and replaced as a whole.
func inSession(path string, cl *client.Client, do func(*client.Client) error) error {
	was, err := readSession(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef("--session: %w", err)
	}
	session := cl.Session()
	if err == nil {
		token := make([]byte, base64.StdEncoding.DecodedLen(len(was)))
		n, err := base64.StdEncoding.Decode(token, bytes.TrimSpace(was))
		if err == nil {
			session, err = cl.Resume(token[:n])
		}
		if err != nil {
			return usagef("--session: %s is not of a session with this cluster: %w; remove the file to start anew", path, err)
		}
	}
	if err := checkWritable(path); err != nil {
		return usagef("--session: %s cannot be written: %w", path, err)
	}
	done := do(session)
	is := append(base64.StdEncoding.AppendEncode(nil, session.Token()), '\n')
	if bytes.Equal(is, was) {
		return done
	}
	if err := replaceFile(path, is); err != nil {
		err = fmt.Errorf("--session: %s cannot be written: %w", path, withoutPath(err))
		if done == nil {
			err = fmt.Errorf("%w; the command itself was done", err)
		}
		return errors.Join(done, err)
	}
	return done
}

// maxSession bounds the file of a session: one of the largest cluster that has
// seen something of each shard, of a hundred writers, is smaller.
const maxSession = 256 << 20

// readSession reads the file of a session.
func readSession(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSession+1))
	if len(text) > maxSession {
		err = fmt.Errorf("%s is larger than the file of a session can be", path)
	}
	return text, err
}

// checkWritable tries to make a file beside path, as replaceFile will: a write
// must not be done if it is plain that the session cannot hold it.
func checkWritable(path string) error {
	f, err := newBeside(path)
	if err != nil {
		return withoutPath(err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func newBeside(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
}

// withoutPath leaves out the name of a file that users never see.
func withoutPath(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// replaceFile writes a file that is either as before or complete.
func replaceFile(path string, data []byte) error {
	f, err := newBeside(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
