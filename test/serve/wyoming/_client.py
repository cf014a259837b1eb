# Speaks with a Wyoming server through the real package, and prints what came as JSON.

import asyncio
import json
import sys

from wyoming.audio import AudioChunk
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeVoice

PORT, TEXT = int(sys.argv[1]), sys.argv[2]


async def ask(events, last):
    async with AsyncTcpClient("127.0.0.1", PORT, connect_timeout=10, read_timeout=60) as client:
        for event in events:
            await client.write_event(event.event())
        types, sound = [], b""
        while (event := await client.read_event()) is not None:
            if not types or types[-1] != event.type:
                types.append(event.type)
            if AudioChunk.is_type(event.type):
                chunk = AudioChunk.from_event(event)
                assert (chunk.rate, chunk.width, chunk.channels) == (24000, 2, 1)
                sound += chunk.audio
            if Info.is_type(event.type):
                return [voice.name for voice in Info.from_event(event).tts[0].voices if voice.installed]
            if Error.is_type(event.type):
                return [*types, Error.from_event(event).code]
            if event.type == last:
                break
        return {"types": types, "sound": sound.hex()}


async def main():
    pieces = [SynthesizeChunk(TEXT[i : i + 3]) for i in range(0, len(TEXT), 3)]
    # as Home Assistant asks: the whole text again, inside the stream
    stream = [SynthesizeStart(), *pieces, Synthesize(TEXT), SynthesizeStop()]
    print(
        json.dumps(
            {
                "voices": await ask([Describe()], ""),
                "plain": await ask([Synthesize(TEXT)], "audio-stop"),
                "stream": await ask(stream, "synthesize-stopped"),
                "unknown": await ask([Synthesize(TEXT, SynthesizeVoice("nobody"))], ""),
            }
        )
    )


asyncio.run(main())
