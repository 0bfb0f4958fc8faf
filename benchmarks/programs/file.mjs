// The same as file.py, for Alchemy for TypeScript: all started at once, as its documentation does it.
import alchemy from "alchemy";
import { File } from "alchemy/fs";

const count = Number(process.env.N);
const app = await alchemy("bench", { stage: "bench", destroyStrategy: "parallel", quiet: true, noTrack: true });
await Promise.all(
  Array.from({ length: count }, (_, number) =>
    File(`f${number}`, { path: `out/f${number}.txt`, content: `${process.env.V}-${number}\n` }),
  ),
);
await app.finalize();
