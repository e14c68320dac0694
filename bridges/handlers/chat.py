"""Chat on the wire: ChatRequest to a question, an answer to ChatStreamChunk and ChatResponse."""

import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.citations import citation_message
from bridges.handlers.collected_answer import SPEECH_CUT, TEXT_CUT, CollectedAnswer, joined, with_another_replica
from bridges.nats.conversation_memory import ConversationMemory, Owner
from bridges.nats.reply import Reply
from bridges.nats.sender import cut_to_fit
from bridges.nats.trust import Trust, is_inbox
from bridges.operations.outcome import Outcome
from bridges.sessions.spoken_stream import ENVELOPE_BYTES
from bridges.subjects import CHAT_RESPONSE, CHAT_STREAM, subject_for
from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, RequestEndedError
from deployments.services import ChatService, VoiceService
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken, ChatQuestion
from deployments.values.language import Exchange
from deployments.values.voice import SpokenAnswerItem, SpokenQuestion

logger = logging.getLogger(__name__)

NO_SPEECH = "no audio: nothing is spoken here, `audio.enabled` is off"
LEFT = "its client has left the stream"


class ChatHandler:
    """Answers ChatRequests with the chat of the graph.

    Args:
        chat: Writes the answers.
        voice: Writes and speaks those that are to be heard, too; None where nothing is spoken.
        memory: What was said before.
        trust: What a client may decide for others.
    """

    def __init__(self, chat: ChatService, voice: VoiceService | None, memory: ConversationMemory, trust: Trust) -> None:
        self._chat = chat
        self._voice = voice
        self._memory = memory
        self._trust = trust

    async def handle(self, call: Call, request: messages_pb2.ChatRequest, reply: Reply) -> Outcome:
        """Answer one request."""
        final_subject = self._final_subject(request, reply)
        stream_subject = _stream_subject(request)
        named = self._trust.user(reply.parameters.get("user_id", ""), request.user_id)
        question = _question(request, named or reply.user)
        question = replace(question, history=await self._memory.recall(Owner(question.user_id)))
        call = replace(call, session=question.user_id)

        async def attempt() -> CollectedAnswer:
            answer = CollectedAnswer(reply.sender.room)
            try:
                items = self._answer(call, question, spoken=request.enable_tts)
                await self._collect(items, answer, request, stream_subject, reply)
            except HearthError as error:
                answer.broke_off(error)
            return answer

        def may_begin_again(answer: CollectedAnswer) -> bool:
            return reply.may_begin_again(is_told=bool(stream_subject and answer.tokens))

        answer = await with_another_replica(call, attempt, may_begin_again)
        if stream_subject and not answer.is_text_told:
            await _end_stream(stream_subject, request, reply)
        if answer.remembered and not answer.end.error_kind:
            # Before the answer is out, so that a follow-up cannot come too soon.
            await self._memory.remember(Owner(question.user_id), Exchange(question.text.strip(), answer.remembered))
        error = joined(answer.error, reply.stream_note)
        response = _response(request, reply, answer.text, answer.end, error)
        if request.enable_tts and answer.text and self._voice is None:
            response.error = joined(response.error, NO_SPEECH)
        response = _with_sound(_fitting(response, reply.sender.room), answer, reply.sender.room)
        await reply.finish(response, final_subject)
        said = {"question": question.text, "answer": answer.text}
        return answer.outcome(request.request_id, response.ByteSize(), said)

    async def _collect(
        self,
        items: AsyncGenerator[AnswerItem | SpokenAnswerItem],
        answer: CollectedAnswer,
        request: messages_pb2.ChatRequest,
        stream_subject: str,
        reply: Reply,
    ) -> None:
        """Take an answer as it comes, and pass its text on to the stream, if there is one, and its listener is."""
        async with aclosing(items):
            with reply.sender.listeners.watch() as watch:
                async for item in items:
                    answer.take(item)
                    if stream_subject and isinstance(item, AnswerToken) and (text := await reply.untold(item.text)):
                        await reply.sender.send(stream_subject, _chunk(request, text), watch.next_reply())
                    if stream_subject and isinstance(item, AnswerEnd) and not item.replica_lost:
                        # What is still being spoken is not waited for.
                        answer.is_text_told = True
                        await _end_stream(stream_subject, request, reply)
                    if watch.left:
                        raise RequestEndedError(LEFT)

    def _answer(
        self, call: Call, question: ChatQuestion, *, spoken: bool
    ) -> AsyncGenerator[AnswerItem | SpokenAnswerItem]:
        if spoken and self._voice is not None:
            return self._voice.answer(call, SpokenQuestion(question))
        return self._chat.answer(call, question)

    async def fail(self, request: messages_pb2.ChatRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that could not be begun, or whose answer broke off on the way."""
        # What is wrong with the request may be a subject that it names: then its other one has to do.
        stream_subject = _usable(_stream_subject, request)
        final_subject = _usable(partial(self._final_subject, reply=reply), request)
        final_subject = final_subject or _usable(_default_subject, request)
        if stream_subject:
            await _end_stream(stream_subject, request, reply)
        end = AnswerEnd(error=error.message, error_kind=error.kind)
        await reply.finish(_response(request, reply, "", end, error.message), final_subject)

    def _final_subject(self, request: messages_pb2.ChatRequest, reply: Reply) -> str:
        if reply.has_lost_its_asker and is_inbox(request.response_subject) and request.request_id:
            # It may be the asker's own inbox, or somebody else's: nobody heard with which reply subject it came.
            return _default_subject(request)
        if request.response_subject:
            return self._trust.response_subject(request.response_subject, reply.reply_subject, reply.own_subjects)
        return _default_subject(request)


def _question(request: messages_pb2.ChatRequest, user_id: str) -> ChatQuestion:
    return ChatQuestion(
        text=request.message if request.message.strip() else request.query,
        user_id=user_id,
        retrieve=request.enable_rag,
        rerank=request.enable_reranker,
        top_k=request.top_k,
        collection=request.collection,
        system_prompt=request.system_prompt,
    )


def _default_subject(request: messages_pb2.ChatRequest) -> str:
    return subject_for(CHAT_RESPONSE, request_id=request.request_id) if request.request_id else ""


def _usable(subject: Callable[[messages_pb2.ChatRequest], str], request: messages_pb2.ChatRequest) -> str:
    """Return a subject of the request, empty where it is not one that can be published on."""
    try:
        return subject(request)
    except InvalidRequestError:
        return ""


def _stream_subject(request: messages_pb2.ChatRequest) -> str:
    if request.enable_streaming and request.request_id:
        return subject_for(CHAT_STREAM, request_id=request.request_id)
    return ""


def _chunk(request: messages_pb2.ChatRequest, text: str) -> messages_pb2.ChatStreamChunk:
    return messages_pb2.ChatStreamChunk(
        request_id=request.request_id, type="chunk", content=text, timestamp=int(time.time())
    )


def _done(request: messages_pb2.ChatRequest) -> messages_pb2.ChatStreamChunk:
    return messages_pb2.ChatStreamChunk(
        request_id=request.request_id, type="done", done=True, timestamp=int(time.time())
    )


async def _end_stream(subject: str, request: messages_pb2.ChatRequest, reply: Reply) -> None:
    if await reply.may_end_stream():
        await reply.sender.send(subject, _done(request))


def _response(
    request: messages_pb2.ChatRequest, reply: Reply, text: str, end: AnswerEnd, error: str
) -> messages_pb2.ChatResponse:
    # Each place once, and long headings are cut: what reads the same is the same.
    cited = {citation.text: citation for citation in (passage.citation for passage in end.passages) if citation.source}
    return messages_pb2.ChatResponse(
        user_id=request.user_id or reply.parameters.get("user_id", ""),
        response=text,
        response_text=text,
        used_rag=end.used_retrieval,
        rag_sources=cited,
        citations=[citation_message(citation) for citation in cited.values()],
        success=not end.error_kind,
        error=error,
    )


def _with_sound(response: messages_pb2.ChatResponse, answer: CollectedAnswer, limit: int) -> messages_pb2.ChatResponse:
    """Put an answer's speech into its response, cut to what the server takes."""
    response.audio, is_whole = answer.wav(limit - response.ByteSize() - ENVELOPE_BYTES)
    if not is_whole:
        response.error = joined(response.error, SPEECH_CUT)
    return response


def _fitting(response: messages_pb2.ChatResponse, limit: int) -> messages_pb2.ChatResponse:
    """Return the response, its text cut to what the server takes and its error saying so."""
    if response.ByteSize() <= limit:
        return response

    def build(characters: int) -> messages_pb2.ChatResponse:
        cut = messages_pb2.ChatResponse()
        cut.CopyFrom(response)
        cut.response = cut.response_text = response.response[:characters]
        cut.error = joined(response.error, TEXT_CUT)
        return cut

    return cut_to_fit(limit, len(response.response), build)
