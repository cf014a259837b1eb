// Limits of everything that comes from outside: texts, recordings, files, networks, waits.

export const LIMITS = {
  /** Larger texts are refused. */
  textBytes: 200_000,
  /**
   * A text up to this spoken length (src/text/spoken-length.ts), in letters, is one prompt, unless the bundle
   * says otherwise. Its frames fit the talker's usual context however slowly it is read.
   */
  promptChars: 300,
  /** Phones per prompt of a voice that reads IPA: what the starter voice was trained on. */
  promptPhones: 60,
  /** Silence at one place of a text. */
  pauseMs: 60_000,
  /** What `[pause]` and `<break/>` mean. */
  usualPauseMs: 500,
  /** Instructions are part of every prompt. */
  instructChars: 2_000,
  maxFrames: 100_000,
  /**
   * A recording to clone; official ones have 3 to 30 s. The full-size codec encoder takes 0.25 GB and 24 MB a
   * second (0.9 GB for 30 s, 1.7 GB for 60 s); beyond that its attention grows with the square.
   */
  referenceSeconds: 60,
  /** Its words: a minute of fast speech has a third of that. */
  referenceChars: 5_000,
  /** Silence that may follow the recording when it is made into codes. */
  referenceTailSeconds: 1,
  /** Less speech says too little about a voice. */
  referenceLeastSeconds: 0.5,
  /** -80 dB; a lower peak counts as silence. */
  referenceLeastPeak: 1e-4,
  /** The file of a pronunciation list. */
  lexiconBytes: 1_000_000,
  /** The file of a recording to take a voice from. */
  recordingBytes: 200_000_000,
  /** A longer one is not even decoded: an hour takes 9 GB of memory. */
  recordingSeconds: 600,
  /** Its sample rate. */
  recordingLeastHz: 1_000,
  recordingMostHz: 768_000,
  /** Official max_new_tokens and a long prompt: more would only reserve memory. */
  contextPositions: 9_216,
  threads: 64,
  /**
   * Rows of a pass of the code predictor: a code and the drafts of the next ones. A further one is seldom
   * right.
   */
  passRows: 4,
  lanes: 8,
  /** The default of {@link Config.stageTimeoutMs}. */
  stageTimeoutMs: 120_000,
  /** How often a waiting thread looks at the stop word. */
  waitSliceMs: 500,
  /** How long a closing engine waits for a stage to end by itself. */
  closeGraceMs: 5_000,
  /** How long its thread then has to end; a native call that hangs prevents that. */
  terminateGraceMs: 500,
  /** Taking a voice from a recording; enough for a minute of it on a slow board. */
  encodeTimeoutMs: 900_000,
  /** The priority of a speech is from -1,000,000 to 1,000,000; 0 is usual. */
  priority: 1_000_000,
  /** Starting a worker and opening its model. */
  startTimeoutMs: 300_000,
  /** A pull waits this long for another pull of the same model. */
  lockWaitMs: 12 * 3_600_000,
  lockPollMs: 500,
  /** Left free on the disk beside a download and its bundle. */
  diskMarginBytes: 256 * 2 ** 20,
} as const;

/** Announcements: when they are said, who waits for whom, and what is kept of them. */
export const ANNOUNCE_LIMITS = {
  /** About ten minutes of speech; longer texts are for files. */
  textBytes: 10_000,
  repeats: 20,
  chimeSeconds: 30,
  /** A time of day is taken for one that is to come if it is at most this far ahead. */
  aheadMs: 12 * 3_600_000,
  /** One that passed longer ago is taken for one of tomorrow. Also the most of how late one may be said. */
  passedMs: 6 * 3_600_000,
  lateMs: 300_000,
  /** So long before its time an announcement asks for its turn. */
  turnLeadMs: 2_000,
  /** The longest sleep of one that waits for its time: clocks are set meanwhile. */
  sleepMs: 1_000,
  waiting: 16,
  waitMs: 60_000,
  mostWaitMs: 3_600_000,
  /** How often a waiting one looks whether its turn has come; a sounding one, whether an urgent one waits. */
  pollMs: 40,
  dedupeSeconds: 86_400,
  /** Sound is given to the player so far ahead, so that it can be interrupted. */
  leadSeconds: 0.5,
  /** Where an interrupted one looks for the end of a word, or a silence, to end in. */
  silenceSeconds: 1.5,
  /** A player that still sounds so long after an urgent one has come hangs, and is ended. */
  hangMs: 4_000,
  phraseBytes: 256 * 2 ** 20,
  phraseFiles: 1_024,
  /** Phrases that nobody has asked for in this time go; those with a time or a date in them sooner. */
  phraseMs: 60 * 86_400_000,
  freshPhraseMs: 2 * 86_400_000,
} as const;

/** How files are fetched from a hub. */
export const HUB_LIMITS = {
  /** Connections for one file, where the server can send parts of it. */
  connections: 4,
  /** Files are fetched in pieces of this size. A connection may run as far ahead of a slow disk. */
  pieceBytes: 32 * 2 ** 20,
  /** Failures in a row, with less than progressBytes in between, until a pull gives up. */
  attempts: 6,
  progressBytes: 2 ** 20,
  /** The wait before the second attempt; doubled after each failure. */
  backoffMs: 500,
  /** The longest wait between attempts, whatever a hub asks for. */
  waitMs: 300_000,
  /** A connection without a byte for this long counts as cut. */
  stallMs: 30_000,
  redirects: 5,
  /** Entries of one repository, and commits that are searched for a short revision. */
  entries: 10_000,
} as const;
export type HubLimits = { readonly [name in keyof typeof HUB_LIMITS]: number };

/** What the server takes on, and how it shares itself out. */
export const SERVE_LIMITS = {
  /** Speeches at once, those that wait included. */
  places: 16,
  /** The most of them that one client may hold. */
  share: 0.75,
  /** A text up to this many characters is an announcement or an answer; longer ones are reads. */
  shortChars: 300,
  /** What a client is told to wait for while the model is opened. */
  openingSeconds: 2,
  retryMostSeconds: 60,
  /** A recording to take a voice from must be decoded in this time. */
  decodeMs: 30_000,
  /** What a client is told to wait for while another voice is taken. */
  takingSeconds: 10,
  /** What sounds when the server ends may finish in this time. */
  endMs: 5_000,
  /** The last bytes then go out in this time. */
  flushMs: 1_000,
  endPollMs: 20,
} as const;

/** Clients that speak the Wyoming protocol. */
export const WYOMING_LIMITS = {
  /** Python's readers take a header line of this length as well. */
  headerBytes: 65_536,
  dataBytes: 1_000_000,
  payloadBytes: 1_000_000,
  connections: 64,
  /** Requests of one connection that wait behind the one that is spoken. */
  requests: 16,
  /** Answers that a client has not read yet; beyond that it is not read from either. */
  unreadBytes: 1_000_000,
  /** A client that says nothing, or that reads nothing, for this long is sent away. */
  idleMs: 600_000,
  stallMs: 60_000,
  /** A full server sends away the client that has been idle longest, if that is longer than this. */
  patienceMs: 10_000,
  sweepMs: 1_000,
  /** How long a client may take to close after its connection was ended. */
  lingerMs: 2_000,
  /** A request waits this long for a model that is being opened. */
  openingMs: 30_000,
  openingPollMs: 100,
  /** The answer to a text without a word: Home Assistant fails without a sound. */
  silenceMs: 100,
} as const;
export type WyomingLimits = { readonly [name in keyof typeof WYOMING_LIMITS]: number };

/** What the HTTP server takes from its clients. */
export const HTTP_LIMITS = {
  /** Of a request with JSON. */
  jsonBytes: 1_000_000,
  /** Of a form with a recording. */
  uploadBytes: 20_000_000,
  /** So much of a body that is too large is read and thrown away, so that its sender gets the answer. */
  droppedBytes: 24_000_000,
  /** A body must be whole after this time. */
  jsonMs: 30_000,
  uploadMs: 120_000,
  /** A connection that says nothing is closed. */
  idleSeconds: 30,
  /** A client that takes nothing of its sound for this long loses it. */
  stallMs: 60_000,
  /** Of one message of a WebSocket. */
  messageBytes: 65_536,
  /** Sound that waits for the reader of a WebSocket. */
  bufferedBytes: 262_144,
  /** A WebSocket's text must go on after this time. */
  textMs: 30_000,
  /** WebSockets at once; each holds little while nobody speaks. */
  sockets: 64,
} as const;
export type HttpLimits = { readonly [name in keyof typeof HTTP_LIMITS]: number };

/** Many boards and their hub. Moments are those of the hub's clock. */
export const FLEET_LIMITS = {
  /** A hub must answer in this time. */
  connectMs: 5_000,
  requestMs: 5_000,
  /** To bring or fetch a sound, also by radio. */
  objectMs: 60_000,
  /** Between attempts to come back to a hub that has gone. */
  reconnectMs: 1_000,
  /** Two pings without an answer: a cable was pulled. */
  hubPingMs: 10_000,
  /** A board tells of itself so often, and counts as gone after three times of silence. */
  beatMs: 5_000,
  absentMs: 15_000,
  stateMs: 60_000,
  /** A ping to a board that the hub still knows. */
  pingMs: 1_000,
  /** The best of so many looks at the hub's clock counts. */
  clockLooks: 5,
  /** Of the boards that could make a sound so many are asked whether they are idle. */
  makersAsked: 8,
  /** How long a board has for saying that it takes an announcement. */
  answerMs: 10_000,
  /** An announcement begins so long after it was sent, and 1 ms later for so many bytes of its sound. */
  leadMs: 400,
  leadBytes: 4_000,
  /** So many boards fetch a sound side by side as fast as one alone; each takes the hub some time. */
  leadBoards: 10,
  leadPerBoardMs: 0.5,
  /** Of one request for messages, and how often the hub says that it is still there while it waits. */
  pullMs: 12 * 3_600_000,
  pullBeatMs: 5_000,
  /** One without a time of its own is stale for a board that hears of it so long after it began. */
  freshMs: 5_000,
  /** The hub gives a message to a board again where it says nothing of it for so long. */
  ackMs: 10_000,
  workingMs: 3_000,
  /** A consumer of a board that never comes back goes after this time. */
  idleConsumerMs: 86_400_000,
  /** Of the streams and buckets: longer than an announcement may be ahead. */
  sayMs: 13 * 3_600_000,
  sayMessages: 20_000,
  sayBytes: 8 * 2 ** 20,
  phraseMs: 86_400_000, // longer than one may be ahead and late
  phraseBytes: 1_024 * 2 ** 20,
  /** Sentences of books that nobody has fetched. */
  soundMs: 6 * 3_600_000,
  soundBytes: 512 * 2 ** 20,
  /** Messages that one of them may have. */
  pieces: 1_000,
  /** On a hub with a small disk all are smaller, down to this. */
  leastBytes: 2 ** 20,
  clockBytes: 2 ** 20,
  stateBytes: 4 * 2 ** 20,
  workBytes: 8 * 2 ** 20,
  /** The same announcement that is published again within this time is one. */
  dedupeMs: 120_000,
  /** Of one message, and of one phrase that boards fetch. */
  messageBytes: 65_536,
  soundPartBytes: 64 * 2 ** 20,
  parts: 256,
  rooms: 16,
  /** Announcements that a board holds at once, those for later included; a few places are for urgent ones. */
  held: 64,
  heldForUrgent: 8,
  /** The longest that one may sound, with its repetitions. */
  saySeconds: 3_600,
  /** Of one sender: so many at once, and then so many a minute. */
  senderBurst: 30,
  senderPerMinute: 60,
  senders: 1_000,
  /** A sound is read into memory so long before it is due. */
  loadAheadMs: 10_000,
  /** A board that makes a sound gives a sign so often; one that gives none for so long is given up. */
  makingSignMs: 1_000,
  makingSilenceMs: 5_000,
  /** Sounds that a board makes at once, those that wait included. */
  makings: 8,
  /** What sounds when a board leaves may finish in this time. */
  leaveMs: 5_000,
  /** What a leaving board tells the hub may take so long. */
  farewellMs: 1_000,
  /** The file of credentials, of a seed or of a certificate. */
  credentialBytes: 65_536,
} as const;
export type FleetLimits = { readonly [name in keyof typeof FLEET_LIMITS]: number };

/** The bridge to MQTT. */
export const MQTT_LIMITS = {
  /** A broker must answer in this time. */
  connectMs: 5_000,
  /** Before the first attempt to come back to a broker; doubled after each one, up to the longest wait. */
  backoffMs: 500,
  mostBackoffMs: 30_000,
  /** A connection that has held for so long was a good one: the waits begin anew. */
  stableMs: 10_000,
  /** A broker counts a bridge as gone after one and a half times this silence. */
  keepAliveSeconds: 10,
  /** So long it keeps messages for a bridge that has gone: it comes back, or another one takes them. */
  sessionSeconds: 60,
  /** The broker drops larger ones itself. */
  packetBytes: 262_144,
  /** Of one message; all letters of the longest text may be escaped. */
  sayBytes: 65_536,
  idChars: 64,
  reasonChars: 1_000,
  /** Messages that are not at the boards yet. */
  waiting: 16,
  /** For one room: so many at once, and then so many a minute. */
  roomBurst: 10,
  roomPerMinute: 30,
  /** Announcements whose end on the boards is still to come. */
  followed: 64,
  /** How often the bridge looks who is there. */
  lookMs: 1_000,
  /** What the broker keeps is there so long after it was asked for. */
  settleMs: 500,
  /** A room without a board stays known for so long. */
  goneRoomMs: 7 * 86_400_000,
  /** Of another bridge that is taken for gone although it says that it is there. */
  absentMs: 60_000,
  /** Rooms of the past that a broker keeps. */
  rooms: 1_000,
  /** The last words to a broker. */
  endMs: 1_000,
} as const;

/** Books that are rendered by many boards, or by one machine. */
export const RENDER_LIMITS = {
  /** About two hundred hours of speech. */
  bookBytes: 20_000_000,
  /** The hub gives a sentence to another board where its board says nothing of it for so long. */
  ackMs: 15_000,
  signMs: 4_000,
  /** A sentence that fails so often on boards is made by the machine that renders. */
  failures: 2,
  /** The hub gives a sentence to boards so often: one may be killed by it without a word. */
  deliveries: 10,
  /** Without a sign of a board for so long, the machine that renders speaks as well. */
  boardMs: 10_000,
  /** Without a sign for so long a sentence may be made by the machine that renders; later it must be. */
  staleMs: 10_000,
  lostMs: 60_000,
  /** Sentences at the hub that no board has begun yet, and more for each that one has. */
  ahead: 16,
  aheadOfEach: 3,
  /** The longest sleep of who waits for news. */
  pollMs: 1_000,
  /** How often it is looked whether a sentence is there whose notice was lost, and how many at once. */
  lookMs: 3_000,
  looks: 8,
  /** Finished sentences that wait in memory for their turn where the disk has no room for them. */
  heldInMemory: 64,
  /** Of one sentence at the hub; a text there has its section and the settings of its voice. */
  soundBytes: 64 * 2 ** 20,
  textBytes: 8 * 2 ** 20,
  /** How often a board tries to store what it has made. */
  stores: 4,
  /** How long a board waits for work before it looks whether something more urgent has come. */
  pullMs: 5_000,
  restMs: 250,
  /** A board whose model does not open leaves the work to others for so long. */
  troubleMs: 10_000,
  /** What is kept on the disk of unfinished books, and for how long. */
  shelfBytes: 8 * 2 ** 30,
  shelfMs: 14 * 86_400_000,
} as const;
export type RenderLimits = { readonly [name in keyof typeof RENDER_LIMITS]: number };
