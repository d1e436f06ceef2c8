import { describe, expect, it } from 'vitest';
import { decodeConnected, decodeReplyHeader, encodeConnect, encodeCreate, encodeGetData, encodePing, encodeSetData, encodeSync, FrameReader } from './jute.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('requests to ZooKeeper', () => {
  it('a session is asked for', () => {
    expect(encodeConnect(40_000)).toEqual(hex(`0000002d 00000000 0000000000000000 00009c40 0000000000000000 00000010 ${'00'.repeat(16)} 00`));
  });
  it('create: path, data, the open ACL, persistent', () => {
    expect(encodeCreate(7, '/a', Buffer.from('xyz'))).toEqual(hex('00000034 00000007 00000001 00000002 2f61 00000003 78797a 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000'));
  });
  it('getData, setData, sync, ping', () => {
    expect(encodeGetData(8, '/a')).toEqual(hex('0000000f 00000008 00000004 00000002 2f61 00'));
    expect(encodeSetData(9, '/a', Buffer.from('z'))).toEqual(hex('00000017 00000009 00000005 00000002 2f61 00000001 7a ffffffff'));
    expect(encodeSync(10, '/a')).toEqual(hex('0000000e 0000000a 00000009 00000002 2f61'));
    expect(encodePing()).toEqual(hex('00000008 fffffffe 0000000b'));
  });
});

describe('answers of ZooKeeper', () => {
  it('a reply has an xid and an error', () => {
    expect(decodeReplyHeader(hex('00000007 0000000100000002 ffffff92 00'))).toEqual({ xid: 7, err: -110 });
    expect(decodeConnected(hex(`00000000 00009c40 0100000000000001 00000010 ${'00'.repeat(16)}`))).toEqual({ timeoutMs: 40_000 });
  });

  it('frames are whole however the stream is cut', () => {
    const stream = hex('00000003 616263 00000000 00000005 6465666768');
    for (let size = 1; size <= stream.length; size++) {
      const frames: string[] = [];
      const reader = new FrameReader();
      for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size), (f) => frames.push(f.toString()));
      expect(frames).toEqual(['abc', '', 'defgh']);
    }
  });
});
